"""Probes that fail though the program runs: wrong path, wrong port, too impatient."""

from __future__ import annotations

import re

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_event, cite_log, cite_release, events_of, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, log_lines, own_subjects, subjects
from cortexops.domain.kubernetes import commands, complaints, meta, pods
from cortexops.domain.kubernetes.listening import listening_ports
from cortexops.domain.kubernetes.values import dig, mapping, number, objects, text
from cortexops.domain.releases import Release, release_of, runs
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import EventFact, Scene

_KINDS = {"Readiness": "readinessProbe", "Liveness": "livenessProbe", "Startup": "startupProbe"}
_FAILED = re.compile(r"^(Readiness|Liveness|Startup) probe (?:failed|errored)[^:]*: ?(.*)", re.DOTALL)
_STATUS = re.compile(r"statuscode: (\d{3})")
_TIMED_OUT = re.compile(r"(?i)context deadline exceeded|client\.timeout|time(?:d )?-?out")
_IMPATIENT = 1  # seconds: what a probe waits that nobody has told how long
_FOLLOWS = (Category.BAD_ROLLOUT, Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED)


@analyzer("probes")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene) or own_subjects(scene):
        worst: dict[tuple[str, str], tuple[EventFact, str]] = {}
        for event in events_of(scene, subject, "Unhealthy"):
            match = _FAILED.match(event.message)
            pod = scene.get(event.about)
            if match is None or pod is None:
                continue
            kind, says = match.groups()
            for container in _failing(scene, event, pod, kind):
                worst.setdefault((kind, container), (event, says))
        for (kind, container), (event, says) in worst.items():
            found.append(_of_probe(scene, book, subject, kind, container, event, says))
    return found


def _failing(scene: Scene, event: EventFact, pod: JSON, kind: str) -> list[str]:
    """The containers whose failing probe matters: unready now, or killed for it, yet not crashing alone."""
    names = []
    for state in pods.container_states(pod):
        if _KINDS[kind] not in pods.spec_of(pod, state.name) or state.init:
            continue
        if any(end is not None and end.out_of_memory for end in (state.ended, state.last)):
            continue
        if kind == "Readiness":
            if state.running_since is not None and not state.ready and meta.deleting_since(pod) is None:
                names.append(state.name)
        elif any(
            f"ontainer {state.name} failed {kind.lower()} probe" in killing.message
            for killing in scene.events_about(event.about, "Killing")
        ):
            names.append(state.name)
    return names


def _of_probe(
    scene: Scene,
    book: EvidenceBook,
    subject: Subject,
    kind: str,
    container: str,
    event: EventFact,
    says: str,
) -> Hypothesis:
    pod = scene.get(event.about) or {}
    spec = pods.spec_of(pod, container)
    probe = mapping(spec, _KINDS[kind])
    evidence = [cite_event(book, event)]
    if kind != "Readiness":
        evidence += [cite_event(book, e) for e in scene.events_about(event.about, "Killing")[:1]]
    evidence.append(
        book.cite(
            EvidenceKind.CONFIG,
            subject.ref,
            f"the {kind.lower()} probe of container {container} asks {_asks(probe)}",
            command=commands.show(subject.ref),
        )
    )
    release = release_of(scene, subject)
    altered = release is not None and _altered(release, container, kind)
    direct, reason = _judge(scene, book, subject, spec, probe, says, event.about, container, evidence)
    precedes = None
    facts = {"container": container, "pod": event.about.name, "probe": _asks(probe)}
    if release is not None and runs(release, pod) and release.precedes(scene.onset):
        facts |= release.facts()
        others = [ref for ref, its in subject.pods if not runs(release, its) and pods.is_ready(its)]
        if not altered and others and direct < 0.85 and kind != "Readiness":
            evidence.append(cite_release(book, subject, release))
            direct, precedes = 0.85, True
            reason = reason or says[:120]
        if altered:
            evidence.append(cite_release(book, subject, release))
            direct, precedes = max(direct, 0.95), True
            before = mapping(release.container_before(container), _KINDS[kind])
            reason = reason or f"revision {release.revision} changed it from {_asks(before)}"
    category = Category.READINESS_PROBE if kind == "Readiness" else Category.LIVENESS_PROBE
    own = (Category.CRASH, Category.CRASH_SINCE_RELEASE) if kind != "Readiness" else ()
    return Hypothesis(
        resource=subject.ref,
        category=category,
        summary=f"the {kind.lower()} probe of container {container} of {subject.ref} ({_asks(probe)}) fails"
        + (f": {reason}" if reason else f": {says[:120]}"),
        support=support(subject, direct, precedes=precedes),
        evidence=tuple(dict.fromkeys(evidence)),
        explains=(*own, *_FOLLOWS, *((Category.READINESS_PROBE,) if own else ())),
        container=container,
        facts=facts,
    )


def _asks(probe: JSON) -> str:
    """`GET /healthz on port 8080`."""
    http = mapping(probe, "httpGet")
    if http:
        return f"GET {text(http, 'path') or '/'} on port {text(http, 'port') or '?'}"
    if mapping(probe, "tcpSocket"):
        return f"TCP port {text(probe, 'tcpSocket', 'port') or '?'}"
    if mapping(probe, "grpc"):
        return f"gRPC port {text(probe, 'grpc', 'port') or '?'}"
    command = dig(probe, "exec", "command")
    return f"command {' '.join(map(str, command))[:80]}" if isinstance(command, list) else "nothing readable"


def _altered(release: Release, container: str, kind: str) -> bool:
    before, after = release.container_before(container), release.container_after(container)
    return bool(before) and before.get(_KINDS[kind]) != after.get(_KINDS[kind])


def _judge(
    scene: Scene,
    book: EvidenceBook,
    subject: Subject,
    spec: JSON,
    probe: JSON,
    says: str,
    pod: ResourceRef,
    container: str,
    evidence: list[str],
) -> tuple[float, str]:
    """How directly the probe itself is at fault, and why."""
    status = _STATUS.search(says)
    if status and status.group(1) in ("404", "405", "401", "403", "301", "308"):
        return 0.95, f"the program answers {status.group(1)}: it does not serve that path"
    if status and status.group(1) == "400":
        return 0.85, "the program answers 400: it refuses a request as the kubelet makes it, perhaps its Host"
    if status and status.group(1) in ("500", "502", "503", "504"):
        return 0.5, f"the program itself answers {status.group(1)}: it says that it is not well"
    port = _port(spec, probe)
    if "connection refused" in says and port is not None:
        for its_pod, its_container, previous, lines in log_lines(scene, subject):
            listens = listening_ports(lines)
            if its_pod == pod and its_container == container and listens and port not in listens:
                shown = [line for line in lines if listening_ports([line])]
                evidence.append(cite_log(book, its_pod, container, previous, shown, "tells its port"))
                return 0.95, f"nothing listens on {port}; the program listens on {_some(listens)}"
        declared = {number(p, "containerPort") for p in objects(spec, "ports")}
        if declared and port not in declared:
            return 0.9, f"nothing listens on {port}; the container declares {_some(declared)}"
        return 0.7, f"nothing listens on {port}"
    if _TIMED_OUT.search(says):
        seconds = number(probe, "timeoutSeconds", default=1)
        late = f"no answer within {seconds} s"
        if seconds <= _IMPATIENT and _everywhere(scene, subject, container):
            return 0.88, f"{late} (timeoutSeconds), in all {len(subject.pods)} pods"
        return 0.6, late
    return 0.6, ""


def _everywhere(scene: Scene, subject: Subject, container: str) -> bool:
    """Whether the container is killed for a late answer in each of several pods, none of which complains of
    itself or of others in its present run: all of them hanging at once would be another matter."""
    if len(subject.pods) < 2 or not all(_killed_late(scene, ref, container) for ref, _ in subject.pods):
        return False
    for _, its_container, previous, lines in log_lines(scene, subject):
        wrong = (complaints.unreachable, complaints.waiting_for, complaints.saturated, complaints.out_of_heap)
        if its_container == container and not previous and any(each(lines) for each in wrong):
            return False
    return True


def _killed_late(scene: Scene, pod: ResourceRef, container: str) -> bool:
    killed = any(f"ontainer {container} failed " in e.message for e in scene.events_about(pod, "Killing"))
    return killed and any(_TIMED_OUT.search(e.message) for e in scene.events_about(pod, "Unhealthy"))


def _some(ports: set[int]) -> str:
    return ", ".join(str(port) for port in sorted(ports)[:4])


def _port(spec: JSON, probe: JSON) -> int | None:
    """The probed port as a number; a named one is looked up in the container."""
    for handler in ("httpGet", "tcpSocket", "grpc"):
        asked = text(probe, handler, "port")
        if asked.isdigit():
            return int(asked)
        for entry in objects(spec, "ports"):
            if asked and text(entry, "name") == asked:
                return number(entry, "containerPort")
    return None
