"""Stores that answer and take no writes: a replica is asked, their memory bound is reached, their disk is full."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.callees import with_callees
from cortexops.domain.citing import cite_log, cite_release, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, backing, is_troubled, log_lines, serves_badly
from cortexops.domain.kubernetes import commands, complaints, last_words, meta, pods
from cortexops.domain.kubernetes.references import claims
from cortexops.domain.kubernetes.values import mapping, text, texts, words
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
_TOLD_SO = re.compile(
    r"(?i)(?:super[-_])?read[-_]only(?:[= ](?:on|1|true|yes))?$|default_transaction_read_only=(?:on|true|1)$"
)
_SHORT_OF_DISK = re.compile(
    r"(?i)(flood.stage|disk (?:usage|watermark)|\blow on disk\b|disk space is insufficient|disk resource limit)"
)
"""Words of stores that stop writing before their disk is full to the last byte."""


@analyzer("store_refuses")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in _victims(scene):
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


def _victims(scene: Scene) -> list[Subject]:
    """The subjects, and those whom they complain about and who say themselves that a store refuses."""

    def refused(callee: Subject) -> bool:
        return any(complaints.refused_by_store(lines) for _, _, _, lines in log_lines(scene, callee))

    return [each.subject for each in with_callees(scene, refused)]


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
    told = _told_to_be(scene, behind)
    why = f"it is started with {told}" if told else "a replica, or set so after a failover"
    evidence = [cited]
    if told:
        says = f"{behind} is started with {told}"
        evidence.append(book.cite(EvidenceKind.CONFIG, behind, says, command=commands.show(behind)))
    return _hypothesis(
        subject, behind, Category.DEPENDENCY_DOWN,
        f"{behind}, which {subject.ref} calls as {store.name}, is read-only ({why}): “{said[-1][:160]}”",
        evidence, 0.88 if told else 0.78, facts={"service": store.name, "host": store.name},
    )  # fmt: skip


def _told_to_be(scene: Scene, ref: ResourceRef) -> str:
    """The argument by which a store is told to take no writes."""
    template = mapping(scene.get(ref) or {}, "spec", "template", "spec")
    given = [
        word for each in pods.containers(template) for word in (*words(each, "command"), *words(each, "args"))
    ]
    return next((word for word in given if _TOLD_SO.search(word)), "")


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
    own = _own_disk(scene, behind)
    told = {pod for pod, *_ in own}
    mounts = [
        scene.ref("PersistentVolumeClaim", ref.namespace, name)
        for ref, pod in sorted(scene.pods_of(behind), key=lambda each: each[0] not in told)
        for name in claims(mapping(pod, "spec"))
    ]
    running = [ref for ref, pod in scene.pods_of(behind) if pods.is_ready(pod)]
    shown = book.cite(
        EvidenceKind.TOPOLOGY, store, f"{subject.ref} calls {store}, behind which {behind} is",
        command=commands.endpoints(store),
    )  # fmt: skip
    evidence = [cited, shown, *(cite_log(book, *each, "says that its disk is full") for each in own[:1])]
    words = own[0][3] if own else said
    quote = next((line for line in reversed(words) if _SHORT_OF_DISK.search(line)), words[-1])
    short = any(_SHORT_OF_DISK.search(line) for line in [*said, *words])
    full = short or bool(complaints.disk_full([*said, *words]))  # else it only says that it cannot write
    says = f"{behind}, which {subject.ref} calls as {store.name}"
    if mounts and (told or len(running) <= 1 or len(set(mounts)) == 1):
        claim = mounts[0]
        size = text(scene.get(claim) or {}, "status", "capacity", "storage")
        state = (
            "has too little disk space left" if short
            else "is full" if full
            else "cannot be written to (full, or refused)"
        )  # fmt: skip
        sure = len(mounts) == 1 or len(running) <= 1 or len(told) == 1
        return _hypothesis(
            subject, claim, Category.VOLUME_FULL,
            f"{claim}{f' ({size})' if size else ''} {state}: {says}, refuses writes: “{last_words.quoted(quote)}”",
            evidence, (0.9 if sure else 0.8) if full else 0.72,
            facts={"claim": claim.name, "size": size} if size else {"claim": claim.name},
        )  # fmt: skip
    lacks = "has no space left on its disk" if full else "cannot write to its disk (full, or refused)"
    return _hypothesis(
        subject, behind, Category.DISK_EXHAUSTED, f"{says}, {lacks} and refuses writes: “{last_words.quoted(quote)}”",
        evidence, 0.85 if full else 0.72,
    )  # fmt: skip


def _own_disk(scene: Scene, ref: ResourceRef) -> list[tuple[ResourceRef, str, bool, list[str]]]:
    """Logs of the store itself in which it says that its disk has no room; a warning of a lower bound is none."""
    store = Subject(ref, scene.get(ref) or {}, tuple(scene.pods_of(ref)))
    return [
        (pod, container, previous, told)
        for pod, container, previous, lines in log_lines(scene, store)
        if not previous
        and (told := list(dict.fromkeys([*complaints.store_disk_full(lines), *complaints.disk_full(lines)])))
    ]


_Explain = Callable[[Scene, EvidenceBook, Subject, ResourceRef, list[str], str], Hypothesis]
_WAYS: tuple[tuple[Callable[[Sequence[str]], list[str]], _Explain], ...] = (
    (complaints.read_only, _asks_replica),
    (complaints.store_full, _memory_bound),
    (complaints.store_disk_full, _disk),
)
