"""Containers killed at their memory limit: too low, outgrown since a release, or leaking."""

from __future__ import annotations

import re
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_end, cite_event, cite_log, cite_release, events_of, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, Trouble, log_lines, subjects, troubles
from cortexops.domain.kubernetes import commands, pods
from cortexops.domain.kubernetes.values import amount, objects, text, words
from cortexops.domain.memory_volumes import brought_by, mounted, told_of
from cortexops.domain.releases import Release, image_facts, release_of
from cortexops.domain.resource import JSON
from cortexops.domain.scene import Scene
from cortexops.domain.words import counted

_EXPLAINS = (
    Category.CRASH,
    Category.CRASH_SINCE_RELEASE,
    Category.LIVENESS_PROBE,
    Category.READINESS_PROBE,
    Category.BAD_ROLLOUT,
    Category.DEPENDENCY_DOWN,
    Category.EXTERNAL_DEPENDENCY,
    Category.SERVICE_MISROUTED,
    Category.HPA_NO_METRICS,
    Category.JOB_FAILED,
    Category.JOB_DEADLINE_EXCEEDED,
)
_HEAP = re.compile(r"(?:-Xmx|--max-old-space-size[= ])(\d+)([kKmMgG]?)")
_NEAR = timedelta(minutes=2)  # a node's word on a kill, and the kill
_STEADY_SECONDS = 7200.0  # growing for hours before each kill is a leak rather than a limit set too low
_LEAK_SECONDS = 1800.0  # a container that ran this long before each kill grew, it did not start too big


@analyzer("out_of_memory")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        killed: dict[str, list[Trouble]] = {}
        for trouble in troubles(scene, subject):
            if _out_of_memory(trouble, scene):
                killed.setdefault(trouble.state.name, []).append(trouble)
        for container, cases in killed.items():
            found += _of_container(scene, book, subject, container, cases)
        by_node = {
            trouble.state.name: hypothesis
            for trouble in troubles(scene, subject)
            if (hypothesis := _by_node(scene, book, subject, trouble)) is not None
        }
        found += by_node.values()
    return found


def _by_node(scene: Scene, book: EvidenceBook, subject: Subject, trouble: Trouble) -> Hypothesis | None:
    """A kill by the kernel because the whole node was out of memory: the container has no limit that would
    have stopped it before, or it has one, and the node is promised to too many."""
    final = trouble.state.final
    where = scene.ref("Node", "", pods.node_name(trouble.obj))
    if final is None or final.code != pods.SIGKILL_EXIT or _out_of_memory(trouble, scene):
        return None
    told = [
        event
        for event in scene.events_about(where, "SystemOOM", "OOMKilling")
        if final.at is None
        or (event.first or final.at) - _NEAR <= final.at <= (event.last or final.at) + _NEAR
    ]
    if not told:
        return None
    limit = text(pods.spec_of(trouble.obj, trouble.state.name), "resources", "limits", "memory")
    who = f"container {trouble.state.name} of {subject.ref}"
    return Hypothesis(
        resource=where if limit else subject.ref,
        category=Category.NODE_PRESSURE if limit else Category.OOM_LIMIT_TOO_LOW,
        summary=f"{where} runs out of memory, and the kernel kills {who}"
        + (f" (limit {limit}, exit code 137)" if limit else ", which has no memory limit (exit code 137)"),
        support=support(subject, 0.8 if limit else 0.9, steps=1 if limit else 0),
        evidence=(cite_end(book, trouble, final), cite_event(book, told[0])),
        explains=_EXPLAINS,
        container=trouble.state.name,
        facts={"container": trouble.state.name, "pod": trouble.pod.name, "node": where.name},
    )


def _out_of_memory(trouble: Trouble, scene: Scene) -> bool:
    state = trouble.state
    if any(end is not None and end.out_of_memory for end in (state.ended, state.last)):
        return True
    # a kill of the container's child, or a runtime that does not say so: the kernel's event tells
    final = state.final
    return (
        final is not None
        and final.code == pods.SIGKILL_EXIT
        and any(scene.events_about(trouble.pod, "OOMKilling"))
    )


def _of_container(
    scene: Scene, book: EvidenceBook, subject: Subject, container: str, cases: list[Trouble]
) -> list[Hypothesis]:
    worst = max(cases, key=lambda case: case.state.restarts)
    spec = pods.spec_of(worst.obj, container)
    limit, request = (text(spec, "resources", part, "memory") for part in ("limits", "requests"))
    evidence = []
    for case in sorted(cases, key=lambda c: -c.state.restarts)[:3]:
        end = next((e for e in (case.state.ended, case.state.last) if e and e.out_of_memory), None)
        final = end or case.state.final
        if final is not None:
            evidence.append(cite_end(book, case, final))
    evidence += [cite_event(book, event) for event in events_of(scene, subject, "OOMKilling")[:1]]
    if limit:
        evidence.append(
            book.cite(
                EvidenceKind.CONFIG,
                subject.ref,
                f"container {container} has a memory limit of {limit}"
                + (f" and requests {request}" if request else ""),
                command=commands.show(subject.ref),
            )
        )
    own = {ref for ref, _ in subject.pods}
    used = [
        m for m in scene.measured if m.what == "memory_bytes" and m.container == container and m.about in own
    ]
    for measure in sorted(used, key=lambda m: -m.value)[:1]:
        evidence.append(book.cite(EvidenceKind.METRIC, measure.about, measure.says, at=measure.at))
    facts = {"container": container, "limit": limit, "request": request, "pod": worst.pod.name}
    many = f"{len(cases)} pods" if len(cases) > 1 else "a pod"
    times = f"{counted(worst.state.restarts, 'restart')}, " if worst.state.restarts else ""
    base = (
        f"container {container} of {subject.ref} is killed for exceeding its memory limit"
        f" of {limit or 'the node'} (OOMKilled, {times}{many})"
    )
    heap = _heap_above(spec, limit)
    release = release_of(scene, subject)
    lowered = _lowered(release, container)
    precedes = release is not None and release.precedes(scene.onset)
    if not lowered:
        filled = _memory_volume(scene, book, subject, release, worst, evidence)
        if filled is not None:
            category, why, more = filled
            facts |= more
            came = True if "revision" in more and precedes else None
            return [_hypothesis(subject, category, base + why, evidence, container, facts, precedes=came)]
    if release is not None and precedes and (lowered or _touches_memory(release, container)):
        evidence.append(cite_release(book, subject, release))
        facts |= release.facts() | image_facts(release, container, worst.state.image)
        if lowered:
            category, why = (
                Category.OOM_LIMIT_TOO_LOW,
                f"; revision {release.revision} lowered it from {lowered}",
            )
        else:
            category, why = Category.OOM_AFTER_RELEASE, f" since revision {release.revision}"
        return [_hypothesis(subject, category, base + why + heap, evidence, container, facts, precedes=True)]
    first = _hypothesis(subject, Category.OOM_LIMIT_TOO_LOW, base + heap, evidence, container, facts)
    lived = [end.seconds or 0.0 for case in cases for end in (case.state.ended, case.state.last) if end]
    if worst.state.restarts >= 2 and lived and min(lived) >= _LEAK_SECONDS:
        summary = f"{base}, each time after running {int(min(lived) // 60)} minutes or more: it may leak"
        steady = min(lived) >= _STEADY_SECONDS
        direct = 0.9 if steady else 0.6
        leak = _hypothesis(subject, Category.MEMORY_LEAK, summary, evidence, container, facts, direct=direct)
        if steady:
            first = first.model_copy(update={"support": support(subject, 0.75)})
        return [first, leak]
    return [first]


def _memory_volume(
    scene: Scene,
    book: EvidenceBook,
    subject: Subject,
    release: Release | None,
    case: Trouble,
    evidence: list[str],
) -> tuple[Category, str, dict[str, str]] | None:
    """What fills the limit is a volume that is kept in memory: a release brought it, or the program says so.

    Such a volume fills slowly: where the program says so, the release may have come long before the first kill.
    """
    container = case.state.name
    limit = amount(pods.spec_of(case.obj, container), "resources", "limits", "memory")
    said = None
    for pod, its_container, previous, lines in log_lines(scene, subject):
        if its_container == container and said is None:
            said = told_of(mounted(case.obj, container), limit, lines)
            if said is not None:
                evidence.append(cite_log(book, pod, container, previous, [said[1]], "tells what fills it"))
    brought = brought_by(release, container) if release is not None else None
    if release is not None and not release.precedes(scene.onset):
        long_ago = release.at is not None and release.at < scene.onset
        brought = brought if long_ago and said is not None else None
    volume = brought or (said[0] if said is not None else None)
    if volume is None:
        return None
    facts = {"memory_volume": volume.name}
    why = f": what is written to its {volume.words} counts against that limit"
    if brought is None or release is None:
        return Category.OOM_LIMIT_TOO_LOW, why, facts
    evidence.append(cite_release(book, subject, release))
    why += f"; revision {release.revision} brought it"
    return Category.OOM_AFTER_RELEASE, why, facts | release.facts()


def _hypothesis(
    subject: Subject,
    category: Category,
    summary: str,
    evidence: list[str],
    container: str,
    facts: dict[str, str],
    *,
    precedes: bool | None = None,
    direct: float = 1.0,
) -> Hypothesis:
    return Hypothesis(
        resource=subject.ref,
        category=category,
        summary=summary,
        support=support(subject, direct, precedes=precedes),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        container=container,
        facts={key: value for key, value in facts.items() if value},
    )


def _heap_above(spec: JSON, limit: str) -> str:
    """What lets the program's heap grow to the container's limit or above; the kernel then acts first."""
    told = [text(each, "value") for each in objects(spec, "env")]
    told += [*words(spec, "args"), *words(spec, "command")]
    for option in (match for each in told for match in _HEAP.finditer(each)):
        unit = (option.group(2) or "m").upper().rstrip("B") + "i"
        heap, most = amount({"of": f"{option.group(1)}{unit}"}, "of"), amount({"of": limit}, "of")
        if heap is not None and most is not None and heap >= most:
            return f"; {option.group(0)} lets its heap alone grow to that"
    return ""


def _lowered(release: Release | None, container: str) -> str:
    """The limit before the release, when the release lowered it."""
    if release is None:
        return ""
    before = release.container_before(container)
    old = amount(before, "resources", "limits", "memory")
    new = amount(release.container_after(container), "resources", "limits", "memory")
    return text(before, "resources", "limits", "memory") if old and new and new < old else ""


def _touches_memory(release: Release, container: str) -> bool:
    """Whether the release changed this container's program or what it is told to do."""
    before, after = release.container_before(container), release.container_after(container)
    return any(
        before.get(part) != after.get(part) for part in ("image", "args", "command", "env", "resources")
    )
