"""A DNS server that ends itself because it forwards what it does not know to itself."""

from __future__ import annotations

import re

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_end, cite_log, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import Subject, Trouble, log_lines, subjects, troubles
from cortexops.domain.scene import Scene

_LOOP = re.compile(
    r"^(?:\S+[ T]\S* )?\[?FATAL\]? plugin/loop: Loop \((\S+) -> (\S+)\) detected for zone \"([^\"]{0,253})\""
)
_LAST = 5  # lines: a program that ends itself says so last
_EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.DEPENDENCY_DOWN, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.SERVICE_MISROUTED, Category.EXTERNAL_DEPENDENCY, Category.BAD_ROLLOUT,
)  # fmt: skip


@analyzer("dns_loop")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        ended: dict[str, Trouble] = {}
        for trouble in troubles(scene, subject):
            if trouble.state.final is not None and trouble.state.final.code not in (0, -1):
                ended.setdefault(trouble.state.name, trouble)
        for pod, container, previous, lines in log_lines(scene, subject):
            said = [line for line in lines[-_LAST:] if _LOOP.search(line)]
            if container in ended and said:
                cited = cite_log(book, pod, container, previous, said, "tells of a loop")
                found.append(_of(book, subject, ended[container], said[-1], cited))
                break
    return found


def _of(book: EvidenceBook, subject: Subject, case: Trouble, line: str, cited: str) -> Hypothesis:
    match = _LOOP.search(line)
    source, zone = (match.group(1), match.group(3)) if match else ("", ".")
    evidence = [cite_end(book, case, case.state.final)] if case.state.final is not None else []
    # queries that come back from a loopback address were sent there by the node's own list of resolvers
    local = source.startswith(("127.", "[::1]", "::1"))
    hint = (
        " (the list of resolvers that it forwards to names a loopback address, as that of a node with a resolver of"
        " its own does)"
        if local
        else ""
    )
    return Hypothesis(
        resource=subject.ref,
        category=Category.DNS_FAILURE,
        summary=f"{subject.ref} is in a forwarding loop: what it does not know of zone “{zone}” it forwards to itself"
        f"{hint}, notices that, and ends",
        support=support(subject, 1.0),
        evidence=(cited, *evidence),
        explains=_EXPLAINS,
        container=case.state.name,
        facts={"pod": case.pod.name, "zone": zone},
    )
