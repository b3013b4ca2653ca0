"""A workload that fails on a setting which somebody it calls serves: a feature flag, a rule, a limit.

The setting lies in a ConfigMap of the one that serves it, was changed lately, and the complaints name it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import by_whom, cite_log, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import Subject, is_troubled, log_lines, serves_badly, subjects
from cortexops.domain.kubernetes import complaints, meta
from cortexops.domain.kubernetes.switches import SERVES, switched_on
from cortexops.domain.kubernetes.values import texts
from cortexops.domain.relayed import short_name
from cortexops.domain.releases import release_of
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.restarted import written_at
from cortexops.domain.scene import Scene
from cortexops.domain.seen import alerted_at, backing
from cortexops.domain.topology import Relation

_LATELY = timedelta(hours=6)
_PLAIN = re.compile(r"[^a-z0-9]")
_SHORTEST = 2  # letters
_SOON = timedelta(hours=1)
_OFTEN = 3  # complaints
_ALONE = 0.75
_EXPLAINS = (
    Category.DEPENDENCY_DOWN, Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT,
)  # fmt: skip


@analyzer("asked_configuration")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found = []
    for subject in subjects(scene):
        if not serves_badly(scene) and not is_troubled(scene, subject):
            continue
        for ref, server in _served_to(scene, subject):
            hypothesis = _of(scene, book, subject, ref, server)
            if hypothesis is not None:
                found.append(hypothesis)
    return found


def _served_to(scene: Scene, subject: Subject) -> list[tuple[ResourceRef, ResourceRef]]:
    """(ConfigMap, the workload that reads it) of those whom the subject calls, without what it reads itself."""
    own = set(scene.topology.out(subject.ref, Relation.USES_CONFIG))
    return [
        (ref, server)
        for service in scene.topology.out(subject.ref, Relation.CALLS)
        for server in backing(scene, service)
        for ref in scene.topology.out(server, Relation.USES_CONFIG)
        if ref not in own and server != subject.ref
    ]


def _of(
    scene: Scene, book: EvidenceBook, subject: Subject, ref: ResourceRef, server: ResourceRef
) -> Hypothesis | None:
    obj: JSON = scene.get(ref) or {}
    write, born = meta.writes(obj, "data"), meta.created(obj)
    if write is None or born is None or write.at <= born or write.at > alerted_at(scene):
        return None
    if write.at < scene.onset - _LATELY:
        return None
    data = texts(obj, "data")
    switched = _named_for(data, short_name(server.name, subject.ref.name))
    for pod, container, previous, lines in log_lines(scene, subject):
        wrong = complaints.own_fault(lines) or complaints.answered_badly(lines) or complaints.slow(lines)
        if switched and wrong:
            key, flag = switched
            return Hypothesis(
                resource=ref,
                category=Category.CONFIGMAP_CHANGED,
                summary=f"{subject.ref} fails since {ref}, which {server} serves, was changed{by_whom(write)} at"
                f" {write.at:%Y-%m-%d %H:%M:%S} UTC; flag {flag} in it is on",
                support=support(subject, 0.85, precedes=True, steps=1),
                evidence=(
                    cite_write(book, ref, f"{ref}, which {server} reads, was changed; {flag} is on", write),
                    cite_log(book, pod, container, previous, wrong, "complains"),
                ),
                explains=_EXPLAINS,
                facts={"configmap": ref.name, "changed_at": write.at.isoformat(), "key": key},
            )
        for line in [*complaints.complaining(lines), *_shown(lines, wrong)]:
            named = next((word for word in complaints.settings(line) if _holds(data, word)), "")
            if named:
                return Hypothesis(
                    resource=ref,
                    category=Category.CONFIGMAP_CHANGED,
                    summary=f"{subject.ref} fails on {named}, which {server} serves from {ref}, changed"
                    f"{by_whom(write)} at {write.at:%Y-%m-%d %H:%M:%S} UTC",
                    support=support(subject, 0.95, precedes=True, steps=1),
                    evidence=(
                        cite_write(book, ref, f"{ref}, which {server} reads, was changed", write),
                        cite_log(book, pod, container, previous, [line], f"names {named}"),
                    ),
                    explains=_EXPLAINS,
                    facts={
                        "configmap": ref.name,
                        "changed_at": write.at.isoformat(),
                        "key": _holds(data, named),
                    },
                )
    return _alone(scene, book, subject, ref, server, write)


def _alone(
    scene: Scene,
    book: EvidenceBook,
    subject: Subject,
    ref: ResourceRef,
    server: ResourceRef,
    write: meta.Write,
) -> Hypothesis | None:
    """Nothing names a flag: what somebody who serves flags reads was changed within an hour before the alert, the
    subject complains of itself since, not before, and was not released."""
    release = release_of(scene, subject)
    if not SERVES.search(server.name) or not _is_young(scene, write):
        return None
    if release is not None and release.precedes(scene.onset):
        return None
    for pod, container, previous, lines in log_lines(scene, subject):
        wrong = complaints.own_fault(lines)
        times = [at for line in wrong if (at := written_at(line)) is not None]
        before = not times or min(times) < write.at
        if previous or len(wrong) < _OFTEN or (before and not scene.clocks_apart):
            continue
        return Hypothesis(
            resource=ref,
            category=Category.CONFIGMAP_CHANGED,
            summary=f"{subject.ref} fails since {ref}, from which {server} serves flags to it, was changed"
            f"{by_whom(write)} at {write.at:%Y-%m-%d %H:%M:%S} UTC; which of them it stumbles over is not told",
            support=support(subject, _ALONE, precedes=True, steps=1),
            evidence=(
                cite_write(book, ref, f"{ref}, which {server} reads, was changed", write),
                cite_log(book, pod, container, previous, wrong, "complains since"),
            ),
            explains=_EXPLAINS,
            facts={"configmap": ref.name, "changed_at": write.at.isoformat()},
        )
    return None


def _is_young(scene: Scene, write: meta.Write) -> bool:
    """Whether it came within an hour before the alert; where clocks cannot be compared, whether it was the last."""
    if scene.clocks_apart:
        return scene.newest_write is not None and write.at >= scene.newest_write
    return write.at >= alerted_at(scene) - _SOON


def _shown(lines: Sequence[str], wrong: Sequence[str]) -> list[str]:
    """What a program shows of its own source with a failure, as traces of Python and Ruby do: indented lines of a
    record in which a line complains."""
    found, record, complains = [], list[str](), False
    for line in [*lines, ""]:
        if line[:1] in (" ", "\t"):
            record.append(line)
            continue
        if complains or line in wrong:  # Python tells what happened after the trace, others before it
            found += record
        record, complains = [], line in wrong
    return found


def _named_for(data: dict[str, str], subject: str) -> tuple[str, str] | None:
    """(key, flag) of a switch that is on and whose name begins with the subject's: `cartFailure` for `cart`."""
    name = _PLAIN.sub("", subject.lower())
    for key, value in data.items() if len(name) >= _SHORTEST else ():
        for flag in switched_on(value):
            if _PLAIN.sub("", flag.lower()).startswith(name) and len(flag) > len(name):
                return key, flag
    return None


def _holds(data: dict[str, str], word: str) -> str:
    """The key of the ConfigMap that is that word or whose document has such a key; "" when there is none."""
    key = re.compile(rf"(?m)(?:^|[\"'\s{{,]){re.escape(word)}[\"']?\s*[:=]")
    return word if word in data else next((name for name, value in data.items() if key.search(value)), "")
