"""Containers out of memory for a reason elsewhere: a limit that a LimitRange gave, a setting that was changed."""

from __future__ import annotations

import re

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_end, cite_write, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject, Trouble, subjects, template_spec, troubles
from cortexops.domain.kubernetes import commands, meta, pods
from cortexops.domain.kubernetes.references import config_uses
from cortexops.domain.kubernetes.values import latest, objects, text, texts
from cortexops.domain.releases import release_of
from cortexops.domain.scene import Scene

_EXPLAINS = (
    Category.OOM_LIMIT_TOO_LOW, Category.OOM_AFTER_RELEASE, Category.MEMORY_LEAK, Category.CRASH,
    Category.CRASH_SINCE_RELEASE, Category.BAD_ROLLOUT, Category.READINESS_PROBE, Category.LIVENESS_PROBE,
    Category.DEPENDENCY_DOWN, Category.SERVICE_MISROUTED,
)  # fmt: skip
_SIZE = re.compile(
    r"(?i)(mem|heap|xmx|java_opts|jvm|cache|buffer|batch|chunk|worker|thread|concurren|parallel|prefetch|queue"
    r"|pool|_mb$|_gb$|size|limit|max)"
)


@analyzer("memory_bounds")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for subject in subjects(scene):
        killed = [
            t for t in troubles(scene, subject)
            if any(end is not None and end.out_of_memory for end in (t.state.ended, t.state.last))
        ]  # fmt: skip
        if killed:
            found += [h for h in (_injected(scene, book, subject, killed[0]),) if h is not None]
            found += _by_setting(scene, book, subject, killed)
    return found


def _injected(scene: Scene, book: EvidenceBook, subject: Subject, case: Trouble) -> Hypothesis | None:
    """The template sets no memory limit, the pod has one: the LimitRange of the namespace gave it."""
    container = case.state.name
    declared = text(
        pods.spec_of({"spec": template_spec(subject)}, container), "resources", "limits", "memory"
    )
    given = text(pods.spec_of(case.obj, container), "resources", "limits", "memory")
    if declared or not given:
        return None
    for ref, ranges in scene.of_kind("LimitRange"):
        defaults = [text(item, "default", "memory") for item in objects(ranges, "spec", "limits")]
        if ref.namespace != subject.ref.namespace or given not in defaults:
            continue
        write = meta.last_write(ranges)
        evidence = [
            book.cite(
                EvidenceKind.CHANGE if write else EvidenceKind.CONFIG, ref,
                f"{ref} gives containers without a limit one of {given}", at=write.at if write else None,
                command=commands.history(ref),
            )
        ]  # fmt: skip
        if case.state.final is not None:
            evidence.append(cite_end(book, case, case.state.final))
        return Hypothesis(
            resource=ref,
            category=Category.LIMIT_RANGE,
            summary=f"container {container} of {subject.ref} is killed (OOMKilled) at a memory limit of {given}"
            f" that it does not ask for: the default of {ref} was injected",
            support=support(
                subject, 1.0, precedes=True if write and write.at <= scene.onset else None, steps=1
            ),
            evidence=tuple(evidence),
            explains=_EXPLAINS,
            container=container,
            facts={"limit": given, "container": container},
        )
    return None


def _by_setting(
    scene: Scene, book: EvidenceBook, subject: Subject, killed: list[Trouble]
) -> list[Hypothesis]:
    """A key whose name speaks of sizes was changed after the last release and before the first kill."""
    release = release_of(scene, subject)
    if release is not None and release.precedes(scene.onset):
        return []
    containers = {case.state.name for case in killed}
    made = latest(*(meta.created(rs) for _, _, rs in scene.revisions(subject.ref)), meta.created(subject.obj))
    found = []
    uses = {
        (use.kind, use.name) for use in config_uses(template_spec(subject)) if use.container in containers
    }
    for _, name in sorted(uses):
        ref = scene.ref("ConfigMap", subject.ref.namespace, name)
        live = scene.get(ref)
        for key, write in meta.key_writes(live or {}).items():
            if not _SIZE.search(key) or write.at > scene.onset or (made is not None and write.at <= made):
                continue
            value = texts(live or {}, "data").get(key, "")
            excerpt = f"{key}: {value[:200]}"
            evidence = [cite_write(book, ref, f"key {key} of {ref} was changed", write, excerpt=excerpt)]
            evidence += [cite_end(book, c, c.state.final) for c in killed[:2] if c.state.final is not None]
            facts = {"configmap": name, "key": key, "container": killed[0].state.name}
            before = meta.applied_values(live or {}).get(key)
            if before is not None and before != value:
                facts["previous_value"] = before
            found.append(
                Hypothesis(
                    resource=ref,
                    category=Category.CONFIGMAP_CHANGED,
                    summary=f"key {key} of {ref} was changed at {write.at:%Y-%m-%d %H:%M:%S} UTC; since then"
                    f" {subject.ref} runs out of memory (OOMKilled)",
                    support=support(subject, 0.85, precedes=True, steps=1),
                    evidence=tuple(evidence),
                    explains=_EXPLAINS,
                    container=killed[0].state.name,
                    facts=facts,
                )
            )
            break
    return found
