"""Facts that several analyzers cite, each worded once, with the command that shows it again."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from cortexops.domain.diagnosis import Support
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, Trouble, log_lines
from cortexops.domain.kubernetes import commands, complaints, last_words
from cortexops.domain.kubernetes.meta import Condition, Write
from cortexops.domain.kubernetes.pods import Ended
from cortexops.domain.releases import Release
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import EventFact, Scene
from cortexops.domain.words import counted

_LINES = 8


def support(
    subject: Subject,
    direct: float,
    *,
    precedes: bool | None = None,
    touches: bool = True,
    steps: int = 0,
    deterministic: bool = True,
) -> Support:
    """Support for a hypothesis about the subject, or something `steps` away from it."""
    return Support(
        direct=round(min(direct, 1.0) * subject.weight, 3),
        precedes_onset=precedes,
        touches_failing=touches,
        distance=subject.distance + steps,
        deterministic=deterministic,
    )


def how_it_ended(end: Ended) -> str:
    """`exit code 137 (OOMKilled)`."""
    code = f"exit code {end.code}" if end.code >= 0 else "an unknown exit code"
    return f"{code} ({end.reason})" if end.reason else code


def cite_end(book: EvidenceBook, trouble: Trouble, end: Ended) -> str:
    """How a container ended."""
    state = trouble.state
    restarts = f", {counted(state.restarts, 'restart')}" if state.restarts else ""
    return book.cite(
        EvidenceKind.STATUS,
        trouble.pod,
        f"container {state.name} of {trouble.pod} ended with {how_it_ended(end)}{restarts}",
        at=end.at,
        excerpt=end.message,
        command=commands.describe(trouble.pod),
    )


def cite_waiting(book: EvidenceBook, trouble: Trouble) -> str:
    """What a container waits for."""
    state = trouble.state
    return book.cite(
        EvidenceKind.STATUS,
        trouble.pod,
        f"container {state.name} of {trouble.pod} waits: {state.waiting}",
        excerpt=state.waiting_message,
        command=commands.describe(trouble.pod),
    )


def cite_event(book: EvidenceBook, event: EventFact) -> str:
    times = f" ({event.count} times)" if event.count > 1 else ""
    return book.cite(
        EvidenceKind.EVENT,
        event.about,
        f"{event.reason} on {event.about}{times}: {event.message[:200]}",
        at=event.last or event.first,
        excerpt=event.message,
        command=commands.events(event.about),
    )


def cite_log(
    book: EvidenceBook, pod: ResourceRef, container: str, previous: bool, lines: Sequence[str], says: str
) -> str:
    """Lines of a log; `says` tells what they show."""
    run = "the previous run" if previous else "the log"
    return book.cite(
        EvidenceKind.LOG,
        pod,
        f"{run} of container {container} {says}: {lines[-1][:200] if lines else ''}",
        excerpt="\n".join(lines[-_LINES:]),
        command=commands.logs(pod, container, previous=previous),
    )


def by_whom(write: Write | None) -> str:
    """` by kubectl-edit`, or nothing where nobody is named."""
    return f" by {write.manager}" if write and write.manager else ""


def cite_write(
    book: EvidenceBook,
    ref: ResourceRef,
    says: str,
    write: Write | None,
    *,
    unknown: EvidenceKind = EvidenceKind.CHANGE,
    excerpt: str = "",
) -> str:
    """Who wrote it, and when; `unknown` is the kind of evidence where the object does not tell."""
    return book.cite(
        EvidenceKind.CHANGE if write else unknown,
        ref,
        f"{says}{by_whom(write)}",
        at=write.at if write else None,
        excerpt=excerpt,
        command=commands.history(ref),
    )


def cite_release(book: EvidenceBook, subject: Subject, release: Release) -> str:
    return book.cite(
        EvidenceKind.CHANGE,
        subject.ref,
        f"{subject.ref} was rolled out as {release.summary}",
        at=release.at,
        excerpt="\n".join(
            f"{line.path}: {line.before or '(absent)'} -> {line.after or '(removed)'}"
            for line in release.lines
        ),
        command=commands.revision(subject.ref, release.revision),
    )


def cite_condition(book: EvidenceBook, ref: ResourceRef, condition: Condition) -> str:
    reason = f", {condition.reason}" if condition.reason else ""
    return book.cite(
        EvidenceKind.STATUS,
        ref,
        f"{ref} has condition {condition.type}={condition.status}{reason}",
        at=condition.since,
        excerpt=condition.message,
        command=commands.describe(ref),
    )


def cite_replicas(book: EvidenceBook, subject: Subject, ready: int, wanted: int) -> str:
    return book.cite(
        EvidenceKind.STATUS,
        subject.ref,
        f"{subject.ref} has {ready} of {wanted} replicas ready",
        command=commands.show(subject.ref),
    )


def events_of(scene: Scene, subject: Subject, *reasons: str) -> list[EventFact]:
    """Events about the workload, its ReplicaSets and its pods, gone ones too, newest first."""
    own = {subject.ref, *scene.topology.descendants(subject.ref)}
    stem = f"{subject.ref.name}-"
    found = [
        event
        for event in scene.events
        if (not reasons or event.reason in reasons)
        and (
            event.about in own
            or (
                event.about.namespace == subject.ref.namespace
                and event.about.kind in ("Pod", "ReplicaSet", "Job")
                and event.about.name.startswith(stem)
                and scene.get(event.about) is None
                and _is_child_name(event.about.name[len(stem) :])
            )
        )
    ]
    return sorted(found, key=lambda e: e.last.timestamp() if e.last else 0.0, reverse=True)


def _is_child_name(rest: str) -> bool:
    """What controllers append to a workload's name: one or two short words, no further name."""
    parts = rest.split("-")
    return len(parts) <= 2 and all(part.isalnum() and len(part) <= 10 for part in parts)


def cite_complaint(
    book: EvidenceBook, scene: Scene, subject: Subject, pods: Collection[ResourceRef] | None = None
) -> tuple[list[str], str]:
    """What the first of a workload's pods that complains says: the evidence, and words to go on with; nothing where
    none does. With `pods` only those are asked."""
    for pod, container, previous, lines in log_lines(scene, subject):
        wrong = complaints.complaining(lines) if pods is None or pod in pods else []
        if wrong:
            cited = cite_log(book, pod, container, previous, wrong, "complains")
            return [cited], f", saying “{last_words.telling(wrong)}”"
    return [], ""
