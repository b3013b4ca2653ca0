"""Stores that answer and take no writes: a replica is asked, their memory bound is reached, their disk is full."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_log, cite_release, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, backing, is_troubled, log_lines, serves_badly, subjects
from cortexops.domain.kubernetes import commands, complaints, meta, pods
from cortexops.domain.kubernetes.references import claims
from cortexops.domain.kubernetes.values import mapping, text, texts
from cortexops.domain.releases import release_of
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.stores import called_store
from cortexops.domain.topology import Relation

_EXPLAINS = (
    Category.CRASH, Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.READINESS_PROBE,
    Category.LIVENESS_PROBE, Category.DEPENDENCY_DOWN,
)  # fmt: skip
_LATELY = timedelta(hours=24)
_REPLICA = re.compile(r"(?i)^(replica|secondary|standby|slave|follower|read-?only|ro|read)s?$")
_MEMORY = "maxmemory"


@analyzer("store_refuses")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        if not is_troubled(scene, subject) and not serves_badly(scene):
            continue
        for pod, container, previous, lines in log_lines(scene, subject):
            hypothesis = None
            for complain, explain in _WAYS:
                said = complain(lines)
                store = called_store(scene, subject, said) if said else None
                if store is not None:
                    cited = cite_log(
                        book, pod, container, previous, said, f"says that {store.name} refuses writes"
                    )
                    hypothesis = hypothesis or explain(scene, book, subject, store, said, cited)
            if hypothesis is not None:
                found.append(hypothesis)
                break
    return found


def _hypothesis(
    subject: Subject, resource: ResourceRef, category: Category, summary: str, evidence: Sequence[str],
    direct: float, *, precedes: bool | None = None, facts: dict[str, str] | None = None,
) -> Hypothesis:  # fmt: skip
    return Hypothesis(
        resource=resource,
        category=category,
        summary=summary,
        support=support(subject, direct, precedes=precedes, steps=2),
        evidence=tuple(evidence),
        explains=tuple(each for each in _EXPLAINS if each is not category),
        facts=facts or {},
    )


def _before(scene: Scene, write: meta.Write | None) -> bool:
    return write is not None and scene.onset - _LATELY <= write.at <= scene.onset


def _asks_replica(
    scene: Scene, book: EvidenceBook, subject: Subject, store: ResourceRef, said: list[str], cited: str
) -> Hypothesis:
    """Writes reach a replica: the Service selects one, or whoever was the primary is none any more."""
    service = scene.get(store) or {}
    selector = texts(service, "spec", "selector")
    write = meta.writes(service, "spec", "selector")
    changed = _before(scene, write)
    chooses = ", ".join(f"{key}={value}" for key, value in sorted(selector.items()))
    if changed or any(_REPLICA.match(value) for value in selector.values()):
        shown = cite_write(
            book, store, f"{store} selects {chooses}", write if changed else None, unknown=EvidenceKind.CONFIG
        )
        return _hypothesis(
            subject, store, Category.SERVICE_MISROUTED,
            f"{store} leads to a read-only store: it selects {chooses}"
            + (", changed before the trouble began" if changed else "")
            + f"; writes of {subject.ref} are refused: “{said[-1][:160]}”",
            [cited, shown], 0.95 if changed else 0.8, precedes=True if changed else None,
            facts={"service": store.name},
        )  # fmt: skip
    behind = next(iter(backing(scene, store)), store)
    return _hypothesis(
        subject, behind, Category.DEPENDENCY_DOWN,
        f"{behind}, which {subject.ref} calls as {store.name}, is read-only (a replica, or set so after a"
        f" failover): “{said[-1][:160]}”",
        [cited], 0.7, facts={"service": store.name, "host": store.name},
    )  # fmt: skip


def _memory_bound(
    scene: Scene, book: EvidenceBook, subject: Subject, store: ResourceRef, said: list[str], cited: str
) -> Hypothesis:
    """The store has reached the bound that its own configuration sets."""
    behind = next(iter(backing(scene, store)), store)
    for ref in scene.topology.out(behind, Relation.USES_CONFIG):
        live = scene.get(ref) or {}
        for key, write in meta.key_writes(live).items():
            lines = [
                line.strip() for line in texts(live, "data").get(key, "").splitlines() if _MEMORY in line
            ]
            if not lines and _MEMORY not in key.lower():
                continue
            born = meta.created(live)
            changed = _before(scene, write) and (born is None or write.at > born)
            value = lines[0] if lines else f"{key}={texts(live, 'data').get(key, '')}"
            shown = cite_write(
                book, ref, f"key {key} of {ref} says “{value[:80]}”", write if changed else None,
                unknown=EvidenceKind.CONFIG, excerpt="\n".join(lines)[:300],
            )  # fmt: skip
            facts = {"configmap": ref.name, "key": key}
            if changed:
                return _hypothesis(
                    subject, ref, Category.CONFIGMAP_CHANGED,
                    f"key {key} of {ref} bounds the memory of {behind} (“{value[:80]}”) and was changed at"
                    f" {write.at:%Y-%m-%d %H:%M:%S} UTC{f' by {write.manager}' if write.manager else ''};"
                    f" writes of {subject.ref} are refused: “{said[-1][:160]}”",
                    [cited, shown], 0.9, precedes=True, facts=facts,
                )  # fmt: skip
            return _full(subject, behind, store, said, [cited, shown], f" (“{value[:80]}” in {ref})")
    release = release_of(scene, Subject(behind, scene.get(behind) or {}, tuple(scene.pods_of(behind))))
    if release is not None and release.precedes(scene.onset) and _MEMORY in release.summary:
        shown = cite_release(book, Subject(behind, {}, ()), release)
        return _hypothesis(
            subject, behind, Category.BAD_ROLLOUT,
            f"revision {release.revision} of {behind} changed its memory bound, and it refuses writes of"
            f" {subject.ref}: “{said[-1][:160]}”",
            [cited, shown], 0.9, precedes=True, facts=release.facts(),
        )  # fmt: skip
    return _full(subject, behind, store, said, [cited], "")


def _full(
    subject: Subject,
    behind: ResourceRef,
    store: ResourceRef,
    said: list[str],
    evidence: list[str],
    bound: str,
) -> Hypothesis:
    return _hypothesis(
        subject, behind, Category.DEPENDENCY_DOWN,
        f"{behind}, which {subject.ref} calls as {store.name}, has used up the memory that it may use{bound}"
        f" and refuses writes: “{said[-1][:160]}”",
        evidence, 0.85, facts={"service": store.name, "host": store.name},
    )  # fmt: skip


def _disk(
    scene: Scene, book: EvidenceBook, subject: Subject, store: ResourceRef, said: list[str], cited: str
) -> Hypothesis:
    """The store's own volume is full; the caller only repeats what it was told."""
    behind = next(iter(backing(scene, store)), store)
    mounts = [
        scene.ref("PersistentVolumeClaim", ref.namespace, name)
        for ref, pod in scene.pods_of(behind)
        for name in claims(mapping(pod, "spec"))
    ]
    running = [ref for ref, pod in scene.pods_of(behind) if pods.is_ready(pod)]
    shown = book.cite(
        EvidenceKind.TOPOLOGY, store, f"{subject.ref} calls {store}, behind which {behind} is",
        command=commands.endpoints(store),
    )  # fmt: skip
    if mounts:
        claim = mounts[0]
        size = text(scene.get(claim) or {}, "status", "capacity", "storage")
        full = bool(complaints.disk_full(said))  # otherwise the store only says that it cannot write to disk
        state = "is full" if full else "cannot be written to (full, or refused)"
        direct = 0.9 if len(mounts) == 1 or len(running) <= 1 else 0.75
        return _hypothesis(
            subject, claim, Category.VOLUME_FULL,
            f"{claim}{f' ({size})' if size else ''} {state}: {behind}, which {subject.ref} calls as"
            f" {store.name}, refuses writes: “{said[-1][:160]}”",
            [cited, shown], direct if full else min(direct, 0.72),
            facts={"claim": claim.name, "size": size} if size else {"claim": claim.name},
        )  # fmt: skip
    return _hypothesis(
        subject, behind, Category.DISK_EXHAUSTED,
        f"{behind}, which {subject.ref} calls as {store.name}, has no space left on its disk and refuses"
        f" writes: “{said[-1][:160]}”",
        [cited, shown], 0.85,
    )  # fmt: skip


_Explain = Callable[[Scene, EvidenceBook, Subject, ResourceRef, list[str], str], Hypothesis]
_WAYS: tuple[tuple[Callable[[Sequence[str]], list[str]], _Explain], ...] = (
    (complaints.read_only, _asks_replica),
    (complaints.store_full, _memory_bound),
    (complaints.store_disk_full, _disk),
)
