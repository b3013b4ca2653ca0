"""Programs that cannot even be started: a command that is not in the image, an image of another architecture."""

from __future__ import annotations

import re

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_end, cite_log, cite_release, cite_waiting, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, Trouble, log_lines, subjects, troubles
from cortexops.domain.kubernetes import commands, pods
from cortexops.domain.kubernetes.values import text
from cortexops.domain.releases import image_facts, release_of
from cortexops.domain.scene import Scene

_ARCHITECTURE = re.compile(r"(?i)exec format error")
_COMMAND = re.compile(
    r"(?i)exec: \"([^\"]+)\"(?:: stat [^:]+)?: (?:no such file or directory|executable file not found in \$PATH"
    r"|permission denied)"
)
_NOT_STARTED = re.compile(r"(?i)unable to start container process(?:: .{1,160})?")
_MOUNTING = "error mounting"  # the command is not what is wrong then
_ROOT = re.compile(
    r"(?i)container has runAsNonRoot and image (?:will run as root|has non-numeric user)(?: \([\w-]+\))?"
)
_TOO_LOW = "container init was OOM-killed"
_SHELL = re.compile(r"(?i)(?:sh|bash): (?:line )?\d*:? ?(\S+): (?:command )?not found")
_EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED, Category.INIT_CONTAINER_FAILED,
)  # fmt: skip


@analyzer("entrypoint")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: dict[tuple[str, str], Hypothesis] = {}
    for subject in subjects(scene):
        for trouble in troubles(scene, subject):
            hypothesis = _of(scene, book, subject, trouble)
            if hypothesis is not None:
                found.setdefault((subject.ref.key, trouble.state.name), hypothesis)
    return list(found.values())


def _limit(trouble: Trouble) -> str:
    """`of 512m (thousandths of a byte)`: an `m` behind an amount of memory means thousandths."""
    limit = text(pods.spec_of(trouble.obj, trouble.state.name), "resources", "limits", "memory")
    return (
        f"of {limit}{' (thousandths of a byte)' if limit.endswith('m') else ''}" if limit else "or its pod's"
    )


def _of(scene: Scene, book: EvidenceBook, subject: Subject, trouble: Trouble) -> Hypothesis | None:
    state = trouble.state
    end = state.final
    said = [state.waiting_message] + ([end.message] if end is not None else [])
    lines = [
        (pod, previous, line)
        for pod, container, previous, written in log_lines(scene, subject)
        if container == state.name and pod == trouble.pod
        for line in written[:5]
    ]
    evidence = [cite_end(book, trouble, end)] if end is not None else []
    evidence += [cite_waiting(book, trouble)] if state.waiting in pods.BAD_WAITING else []
    category, what = None, ""
    for message in [*said, *(line for _, _, line in lines)]:
        if _ARCHITECTURE.search(message):
            category, what = Category.WRONG_ARCHITECTURE, message
        elif (
            (match := _ROOT.search(message))
            or (
                _MOUNTING not in message
                and (match := _COMMAND.search(message) or _NOT_STARTED.search(message))
            )
            or (end is not None and end.code in (126, 127) and (match := _SHELL.search(message)))
        ):
            category, what = Category.BAD_ENTRYPOINT, match.group(0)
        if category is not None:
            break
    if category is None:
        return None
    for pod, previous, line in lines:
        if line == what or what in line:
            evidence.append(cite_log(book, pod, state.name, previous, [line], "says"))
            break
    facts = {"container": state.name, "pod": trouble.pod.name, "image": state.image}
    precedes, since = None, ""
    release = release_of(scene, subject)
    if release is not None and release.precedes(scene.onset):
        evidence.append(cite_release(book, subject, release))
        facts |= release.facts() | image_facts(release, state.name, state.image)
        precedes, since = True, f", since revision {release.revision}"
    if category is Category.WRONG_ARCHITECTURE:
        node = scene.get(scene.ref("Node", "", pods.node_name(trouble.obj))) or {}
        architecture = text(node, "status", "nodeInfo", "architecture")
        if architecture:
            where = scene.ref("Node", "", pods.node_name(trouble.obj))
            evidence.append(
                book.cite(
                    EvidenceKind.STATUS, where, f"{where} is of architecture {architecture}",
                    command=commands.describe(where),
                )
            )  # fmt: skip
        summary = (
            f"image {state.image} of container {state.name} of {subject.ref} is built for another CPU"
            f" architecture than its node{f' ({architecture})' if architecture else ''}: exec format error{since}"
        )
    else:
        summary = (
            f"its node may not start container {state.name} of {subject.ref} as root{since}: {what[:200]}"
            if _ROOT.search(what)
            else f"container {state.name} of {subject.ref} cannot be started{since}: its memory limit"
            f" {_limit(trouble)} is too low for that ({_TOO_LOW})"
            if _TOO_LOW in what
            else f"the command of container {state.name} of {subject.ref} cannot be started{since}: {what[:200]}"
        )
    return Hypothesis(
        resource=subject.ref,
        category=category,
        summary=summary,
        support=support(subject, 1.0, precedes=precedes),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        container=state.name,
        facts=facts,
    )
