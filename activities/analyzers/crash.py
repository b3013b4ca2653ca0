"""Containers that end by themselves: since a release, or without one."""

from __future__ import annotations

import re

from activities.analyzers import analyzer
from cortexops.domain.citing import (
    cite_end,
    cite_event,
    cite_log,
    cite_release,
    cite_waiting,
    events_of,
    how_it_ended,
    support,
)
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind, GapReason
from cortexops.domain.findings import Subject, Trouble, log_lines, subjects, troubles
from cortexops.domain.kubernetes import commands, complaints, last_words, pods
from cortexops.domain.kubernetes.values import objects, text, words
from cortexops.domain.neighbours import cut_cpu, says_lost
from cortexops.domain.releases import Release, image_facts, release_of, split
from cortexops.domain.resource import JSON
from cortexops.domain.scene import Scene

_EXPLAINS = (
    Category.READINESS_PROBE,
    Category.BAD_ROLLOUT,
    Category.DEPENDENCY_DOWN,
    Category.SERVICE_MISROUTED,
    Category.HPA_NO_METRICS,
)

_LAST_WORDS = 30  # lines
_TIMED_OUT = re.compile(r"(?i)(time[d -]*out|deadline exceeded)")
_HEAP_OPTION = re.compile(r"-Xmx\S+|-XX:MaxRAMPercentage=\S+|--max-old-space-size[= ]\S+")


@analyzer("crash")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        crashed: dict[str, list[Trouble]] = {}
        for trouble in troubles(scene, subject):
            if _crashed(scene, trouble):
                crashed.setdefault(trouble.state.name, []).append(trouble)
        for container, cases in crashed.items():
            found.append(_of_container(scene, book, subject, container, cases))
    return found


def _crashed(scene: Scene, trouble: Trouble) -> bool:
    state = trouble.state
    if state.waiting in pods.PULL_REASONS | pods.CONFIG_REASONS:
        return False
    ends = [end for end in (state.ended, state.last) if end is not None]
    if any(end.out_of_memory for end in ends):
        return False
    probed = any(
        "liveness probe" in event.message or "startup probe" in event.message
        for event in scene.events_about(trouble.pod, "Killing")
    )
    killed = any(end.code in (pods.SIGKILL_EXIT, pods.SIGTERM_EXIT) for end in ends)
    return not (probed and (killed or not ends))


def _bounds_of(pod: JSON, container: str) -> str:
    """What bounds the memory of a program that ran out of it before the kernel had to act."""
    spec = pods.spec_of(pod, container)
    told = (
        [text(each, "value") for each in objects(spec, "env")] + words(spec, "args") + words(spec, "command")
    )
    option = next((m.group(0) for each in told if (m := _HEAP_OPTION.search(each))), "")
    limit = text(spec, "resources", "limits", "memory")
    own = f"its own bound is {option}" if option else "its runtime sets the bound"
    return f": it used up its own memory ({own}" + (f", the container's limit is {limit})" if limit else ")")


def _starved(
    scene: Scene, book: EvidenceBook, subject: Subject, release: Release, container: str, evidence: list[str]
) -> str:
    """That the release left it a sliver of the CPU which it had, and what of it is seen: probes that time out."""
    line = cut_cpu(release, container)
    if line is None:
        return ""
    before, after = line.before.strip('"'), line.after.strip('"')
    said = f"; revision {release.revision} cut its CPU limit from {before} to {after}"
    probed = [e for e in events_of(scene, subject, "Unhealthy") if _TIMED_OUT.search(e.message)]
    if not probed:
        return said
    evidence.append(cite_event(book, probed[0]))
    return f"{said}, and its probes time out"


def _of_container(
    scene: Scene, book: EvidenceBook, subject: Subject, container: str, cases: list[Trouble]
) -> Hypothesis:
    worst = max(cases, key=lambda case: case.state.restarts)
    end = worst.state.final
    evidence = [cite_end(book, worst, end)] if end is not None else []
    if worst.state.waiting:
        evidence.append(cite_waiting(book, worst))
    saying, own_words, heap = "", False, False
    lost: list[str] = []
    for pod, its_container, previous, lines in log_lines(scene, subject):
        complained = complaints.complaining(lines)
        if its_container == container and complained:
            evidence.append(cite_log(book, pod, container, previous, complained, "complains"))
            heap = bool(complaints.out_of_heap(lines[-_LAST_WORDS:]))
            said = complaints.out_of_heap(complained) if heap else complaints.of_itself(complained[-5:])
            said = [line for line in said if not last_words.says_little(line)]
            lost = complained
            own_words = bool(said) and not heap
            saying = last_words.telling(said or complained)
            break
    facts = {"container": container, "pod": worst.pod.name, "image": worst.state.image}
    if end is not None:
        facts["exit_code"] = str(end.code)
    how = how_it_ended(end) if end is not None else worst.state.waiting
    release = release_of(scene, subject)
    failing = {case.pod for case in cases}
    tail = f", saying “{saying}”" if saying else ""
    if heap:
        tail += _bounds_of(worst.obj, container)
    if release is not None and release.precedes(scene.onset):
        fare = split(release, subject, failing)
        against = []
        if fare.old_failing:
            against.append(
                book.cite(
                    EvidenceKind.STATUS,
                    subject.ref,
                    f"{fare.old_failing} pods of the revision before fail as well",
                    command=commands.describe(subject.ref),
                )
            )
        if fare.new_failing:
            evidence.append(cite_release(book, subject, release))
            direct = 0.9 if fare.old_ready else 0.8
            return Hypothesis(
                resource=subject.ref,
                category=Category.INIT_CONTAINER_FAILED if worst.state.init else Category.CRASH_SINCE_RELEASE,
                summary=f"{'init ' if worst.state.init else ''}container {container} of {subject.ref}"
                f" crashes with {how} since revision {release.revision}{tail}{says_lost(release, lost)}"
                + ("" if own_words or heap else _starved(scene, book, subject, release, container, evidence)),
                support=support(subject, direct, precedes=True),
                evidence=tuple(evidence),
                against=tuple(against),
                explains=(*_EXPLAINS, Category.CRASH, Category.LIVENESS_PROBE, Category.CPU_THROTTLING),
                container=container,
                facts=facts | release.facts() | image_facts(release, container, worst.state.image),
            )
    evidence += [
        cite_event(book, e)
        for e in events_of(scene, subject, "BackOff")[:1]
        if "restarting failed" in e.message
    ]
    init = worst.state.init
    # what a program says of itself is a cause; that it ended, or that others fail it, is a symptom
    unheard = any(gap.reason is not GapReason.NO_DATA and "pods/log" in gap.what for gap in scene.gaps)
    direct = 0.87 if heap else (0.77 if own_words else 0.62) if saying else 0.45 if unheard else 0.52
    return Hypothesis(
        resource=subject.ref,
        category=Category.INIT_CONTAINER_FAILED if init else Category.CRASH,
        summary=f"{'init ' if init else ''}container {container} of {subject.ref} crashes with {how}{tail}",
        support=support(subject, direct),
        evidence=tuple(evidence),
        explains=_EXPLAINS,
        container=container,
        facts=facts,
    )
