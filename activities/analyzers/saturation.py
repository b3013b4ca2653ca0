"""Connections that have run out: at a server for all its callers, or in a program's own pool."""

from __future__ import annotations

import re
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.callees import with_callees
from cortexops.domain.citing import cite_log, cite_release, cite_write, support
from cortexops.domain.databases import Grown, clients, grown, outside
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import (
    Subject,
    backing,
    blamed_links,
    complaints_about,
    is_troubled,
    log_lines,
    serves_badly,
)
from cortexops.domain.kubernetes import commands, complaints, last_words, meta, pods
from cortexops.domain.kubernetes.running_out import of_files, of_workers, runs_out
from cortexops.domain.kubernetes.values import texts
from cortexops.domain.releases import release_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.stores import called_store, seems_store
from cortexops.domain.topology import Relation

_EXPLAINS = (
    Category.CRASH, Category.READINESS_PROBE, Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN,
    Category.BAD_ROLLOUT, Category.SERVICE_MISROUTED, Category.SECRET_CHANGED,
)  # fmt: skip
_WAITS = "tells that connections ran out, as the database takes too long to answer"
_BOUND = re.compile(r"(?i)max[_.-]?(?:clients?|connections?|client[_.-]?conn|user[_.-]?connections)\b")
_LATELY = timedelta(hours=24)
_POOL = re.compile(r"(?i)(pool|connection|conn_|max_idle|max_open)")


@analyzer("saturation")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in _victims(scene):
        if not is_troubled(scene, subject) and not serves_badly(scene):
            continue
        for pod, container, previous, lines in log_lines(scene, subject):
            said = complaints.saturated(lines)
            why, slowly = complaints.told_beside(lines, said)
            own_pool = not any(complaints.at_server(line) for line in said)
            if said and own_pool and (why or _refused_elsewhere(scene, subject, pod)):
                continue  # none can be made, and the lines beside say why: that is told elsewhere
            if said and all(of_workers(line) for line in said) and _waits_for_others(scene, subject):
                continue  # they wait for whom they call
            host = outside(scene, subject) if said and slowly and own_pool else ""
            if host and not _own_change(scene, subject):
                cited = cite_log(book, pod, container, previous, [*said[-2:], *slowly], _WAITS)
                found.append(_waits_outside(scene, subject, host, slowly, cited))
                break
            if said:
                cited = cite_log(book, pod, container, previous, said, "tells that connections ran out")
                found.append(_of(scene, book, subject, said, cited))
                break
    return found


def _victims(scene: Scene) -> list[Subject]:
    """The subjects, and those whom they complain about and who say themselves that connections ran out."""

    def lacks(callee: Subject) -> bool:
        return any(complaints.saturated(lines) for _, _, _, lines in log_lines(scene, callee))

    return [each.subject for each in with_callees(scene, lacks)]


def _refused_elsewhere(scene: Scene, subject: Subject, pod: ResourceRef) -> bool:
    """Whether another pod of the subject, which does not get as far, says that its sign-in is refused."""
    return any(
        complaints.about_credentials(lines) or complaints.unknown_there(lines)
        for other, _, _, lines in log_lines(scene, subject)
        if other != pod and pods.is_unready(scene.get(other) or {})
    )


def _of(scene: Scene, book: EvidenceBook, subject: Subject, said: list[str], cited: str) -> Hypothesis:
    evidence = [cited]
    at_server = any(complaints.at_server(line) for line in said)
    changed = _pool_setting(scene, book, subject, evidence)
    if changed is not None:
        ref, key = changed
        return _hypothesis(
            subject, ref, f"key {key} of {ref} was changed and {subject.ref} runs out of connections",
            evidence, 0.95, steps=1, precedes=True, facts={"key": key},
        )  # fmt: skip
    if at_server:
        service, of_itself = _store(scene, subject, said)
        server = next(iter(backing(scene, service)), service) if service is not None else None
        whom = "its clients" if of_itself else str(subject.ref)
        bound = _server_setting(scene, book, server, evidence) if server is not None else None
        if server is not None and bound is not None:
            ref, key, line = bound
            return _hypothesis(
                subject, ref, f"key {key} of {ref} bounds the connections of {server} (“{line[:80]}”) and was changed"
                f" before the trouble began; {server} has none left for {whom}: {last_words.telling(said)}",
                evidence, 0.92, steps=2, precedes=True, facts={"configmap": ref.name, "key": key},
            )  # fmt: skip
        greedy = _greedy_client(scene, service) if service is not None else None
        if server is not None and greedy is not None:
            return _of_client(book, subject, server, *greedy, whom, said, evidence)
        if server is not None:
            return _hypothesis(
                subject, server, f"{server} has no connections left for {whom}: {said[-1][:160]}",
                evidence, 0.9, steps=0 if of_itself else 2,
            )  # fmt: skip
    release = release_of(scene, subject)
    if release is not None and release.precedes(scene.onset):
        evidence.append(cite_release(book, subject, release))
        summary = f"{subject.ref} {runs_out(said[-1])} since revision {release.revision}: {said[-1][:160]}"
        return _hypothesis(subject, subject.ref, summary, evidence, 0.8, precedes=True, facts=release.facts())
    if of_files(said[-1]) or of_workers(said[-1]):
        summary = f"{subject.ref} {runs_out(said[-1])}: {said[-1][:160]}"
        return _hypothesis(subject, subject.ref, summary, evidence, 0.85)
    summary = f"the connection pool of {subject.ref} is exhausted: {said[-1][:160]}"
    return _hypothesis(subject, subject.ref, summary, evidence, 0.85)


def _waits_for_others(scene: Scene, subject: Subject) -> bool:
    """Whether it complains of somebody whom it calls, so that its workers are likely to be held up there."""
    if blamed_links(scene, subject):
        return True
    told = [line for _, _, _, lines in log_lines(scene, subject) for line in lines]
    services = scene.topology.out(subject.ref, Relation.CALLS)
    return any(complaints_about(scene, subject, service, told) for service in services) or any(
        complaints.of_a_peer([line]) for line in told
    )


def _own_change(scene: Scene, subject: Subject) -> bool:
    """Whether its own release, or a larger pool, came before the trouble."""
    release = release_of(scene, subject)
    return (release is not None and release.precedes(scene.onset)) or grown(scene, subject) is not None


def _waits_outside(scene: Scene, subject: Subject, host: str, slowly: list[str], cited: str) -> Hypothesis:
    """The pool is empty because the database, which is outside, does not answer in time."""
    return Hypothesis(
        resource=scene.ref("ExternalHost", "", host),
        category=Category.EXTERNAL_DEPENDENCY,
        summary=f"{subject.ref} waits for its database {host}, which is outside the cluster and does not answer in"
        f" time: “{last_words.telling(slowly)}”; that its connections run out follows from it",
        support=support(subject, 0.85),
        evidence=(cited,),
        explains=(*_EXPLAINS, Category.CONNECTION_SATURATION),
        facts={"host": host},
    )


def _hypothesis(
    subject: Subject, resource: ResourceRef, summary: str, evidence: list[str], direct: float, *,
    steps: int = 0, precedes: bool | None = None, facts: dict[str, str] | None = None,
) -> Hypothesis:  # fmt: skip
    config = resource.kind == "ConfigMap"
    return Hypothesis(
        resource=resource,
        category=Category.CONFIGMAP_CHANGED if config else Category.CONNECTION_SATURATION,
        summary=summary,
        support=support(subject, direct, precedes=precedes, steps=steps),
        evidence=tuple(evidence),
        explains=(*_EXPLAINS, Category.CONNECTION_SATURATION) if config else _EXPLAINS,
        facts=facts or {},
    )


def _pool_setting(
    scene: Scene, book: EvidenceBook, subject: Subject, evidence: list[str]
) -> tuple[ResourceRef, str] | None:
    """A key about pools or connections, of a ConfigMap that the subject reads, changed before the trouble."""
    for ref in scene.topology.out(subject.ref, Relation.USES_CONFIG):
        live = scene.get(ref) or {}
        general = meta.created(live)
        for key, write in meta.key_writes(live).items():
            late = general is None or write.at > general
            if _POOL.search(key) and late and write.at <= scene.onset:
                excerpt = f"{key}: {texts(live, 'data').get(key, '')[:200]}"
                evidence.append(
                    cite_write(book, ref, f"key {key} of {ref} was changed", write, excerpt=excerpt)
                )
                return ref, key
    return None


def _server_setting(
    scene: Scene, book: EvidenceBook, server: ResourceRef, evidence: list[str]
) -> tuple[ResourceRef, str, str] | None:
    """(ConfigMap, key, its line) by which the server bounds its connections, where that key was changed lately."""
    for ref in scene.topology.out(server, Relation.USES_CONFIG):
        live = scene.get(ref) or {}
        born = meta.created(live)
        for key, write in meta.key_writes(live).items():
            value = texts(live, "data").get(key, "")
            written = value.splitlines() if "\n" in value else [f"{key}={value}"]
            lines = [each.strip() for each in written if _BOUND.search(each)]
            lately = scene.onset - _LATELY <= write.at <= scene.onset
            if lines and lately and (born is None or write.at > born):
                evidence.append(
                    cite_write(book, ref, f"key {key} of {ref} was changed", write, excerpt=lines[0][:200])
                )
                return ref, key, lines[0]
    return None


def _greedy_client(scene: Scene, service: ResourceRef) -> tuple[Subject, Grown] | None:
    """The one client of a database without connections that lately came to hold more of them; two are none."""
    found = [
        (client, more) for client in clients(scene, service) if (more := grown(scene, client)) is not None
    ]
    return found[0] if len(found) == 1 else None


def _of_client(
    book: EvidenceBook, subject: Subject, server: ResourceRef, client: Subject, more: Grown, whom: str,
    said: list[str], evidence: list[str],
) -> Hypothesis:  # fmt: skip
    if more.release is not None:
        evidence.append(cite_release(book, client, more.release))
    else:
        evidence.append(
            book.cite(
                EvidenceKind.CHANGE, more.config or client.ref, f"{client.ref} may hold more connections: {more.says}",
                at=more.at, command=commands.history(more.config or client.ref),
            )
        )  # fmt: skip
    since = f" since revision {more.release.revision}" if more.release is not None else ""
    facts = more.release.facts() if more.release is not None else {"key": more.key} if more.key else {}
    found = _hypothesis(
        subject, more.config or client.ref,
        f"{client.ref} may hold more connections of {server}{since}: {more.says}; it is the only client of which that"
        f" changed before the trouble, and {server} has none left for {whom}: {last_words.telling(said)}",
        evidence, 0.92 if more.sure else 0.8, steps=2, precedes=True, facts=facts,
    )  # fmt: skip
    return found.model_copy(update={"explains": (*found.explains, Category.CONNECTION_SATURATION)})


def _store(scene: Scene, subject: Subject, said: list[str]) -> tuple[ResourceRef | None, bool]:
    """The Service of the store that the lines are about, and whether the subject is that store."""
    called = called_store(scene, subject, said)
    if called is not None:
        return called, False
    own = [ref for ref, _ in scene.of_kind("Service") if subject.ref in backing(scene, ref)]
    stores = [ref for ref in own if seems_store(scene.get(ref) or {}, [subject.obj])]
    return next(iter(stores), None), True
