"""Jobs that others wait for: those that init containers name, those that hold a lock which callers wait for, and
those that were to make what a database lacks."""

from __future__ import annotations

import re
from collections.abc import Sequence

from activities.collectors import collector
from activities.gathering import Gathering
from activities.workload_reading import read_logs, read_pods
from cortexops.domain.kubernetes import complaints, meta, pods, schemas
from cortexops.domain.kubernetes.locks import contended, gave_up, holders, slow_statements, waits_for_lock
from cortexops.domain.kubernetes.values import mapping, text, words
from cortexops.domain.resource import JSON
from cortexops.domain.topology import Relation

_OF_A_JOB = re.compile(r"(?i)(\bjobs?\b|migrat|job[./:])")
_KEPT = 3
_LINES = 10


@collector("awaited_jobs", wave=4)
async def collect(gathering: Gathering) -> None:
    for namespace, said in _awaited(gathering).items():
        named = [job for job in await gathering.listing("Job", namespace) if _named(job, said)]
        await _keep(gathering, namespace, named)
    for namespace in sorted({log.pod.namespace for log in gathering.logs if schemas.lacks(log.lines)}):
        migrations = [job for job in await gathering.listing("Job", namespace) if _migrates(job)]
        await _keep(gathering, namespace, migrations)
        await _hear_the_done(gathering, migrations)
    for namespace in sorted({log.pod.namespace for log in gathering.logs if _is_slow(log.lines)}):
        running = [job for job in await gathering.listing("Job", namespace) if not _is_over(job)]
        await _keep(gathering, namespace, running)
    for namespace, asked in _holders(gathering).items():
        listed = await gathering.listing("Job", namespace)
        jobs = [job for job in listed if _holds(job, asked)]
        if not asked:  # the database told their processes only: what do the Jobs that run say?
            jobs = [job for job in listed if not _is_over(job)]
        await _keep(gathering, namespace, jobs)
        for kind in ("Deployment", "StatefulSet") if not jobs else ():
            for item in await gathering.listing(kind, namespace):
                if (
                    meta.name(item) in asked
                    and gathering.find(gathering.ref(kind, namespace, meta.name(item))) is None
                ):
                    gathering.keep(kind, item)


async def _keep(gathering: Gathering, namespace: str, jobs: list[JSON]) -> None:
    """The newest of them, with their pods and what one of those said."""
    jobs.sort(key=lambda job: text(job, "metadata", "creationTimestamp"), reverse=True)
    for job in jobs[:_KEPT]:
        ref = gathering.ref("Job", namespace, meta.name(gathering.keep("Job", job)))
        above = meta.owner(job)
        if above is not None and above[0] == "CronJob":
            gathering.connect(gathering.ref("CronJob", namespace, above[1]), Relation.OWNS, ref)
        await read_pods(gathering, ref)
        await read_logs(gathering, ref, most=1)


async def _hear_the_done(gathering: Gathering, jobs: list[JSON]) -> None:
    """What one that was done said: it may have taken away what is missed."""
    for job in jobs[:_KEPT]:
        own = gathering.pods_of(gathering.ref("Job", meta.namespace(job), meta.name(job)))
        if meta.condition(job, "Complete").status == "True" and own:
            ref, pod = own[-1]
            for state in pods.container_states(pod)[:1]:
                await gathering.log(ref, state.name, previous=False)


def _is_slow(lines: Sequence[str]) -> bool:
    """Whether they tell of locks, or of statements that take too long."""
    return bool(contended(lines) or gave_up(lines) or slow_statements(lines))


def _awaited(gathering: Gathering) -> dict[str, list[str]]:
    """Namespace → what init containers that have not ended say, or are told to do, of a job."""
    found: dict[str, list[str]] = {}
    for ref, pod in gathering.of_kind("Pod"):
        if not pods.is_unready(pod):
            continue
        for state in pods.container_states(pod):
            if not state.init or state.ready:
                continue
            spec = pods.spec_of(pod, state.name)
            told = [" ".join([*words(spec, "command"), *words(spec, "args")])]
            for log in gathering.logs:
                if log.pod == ref and log.container == state.name:
                    told += log.lines[-_LINES:]
            about = [line for line in told if _OF_A_JOB.search(line)]
            if about:
                found.setdefault(ref.namespace, []).extend(about)
    return found


def _migrates(job: JSON) -> bool:
    return schemas.called_migration(meta.name(job)) or any(
        map(schemas.migrates, pods.containers(mapping(job, "spec", "template", "spec")))
    )


def _named(job: JSON, said: list[str]) -> bool:
    return any(complaints.names(line, meta.name(job)) for line in said)


def _holders(gathering: Gathering) -> dict[str, set[str]]:
    """Namespace → whom databases name as holding a lock, where somebody complains that he waits for one."""
    found: dict[str, set[str]] = {}
    waiting = any(waits_for_lock(log.lines) for log in gathering.logs)
    for log in gathering.logs if waiting else ():
        for holder in holders(log.lines):
            found.setdefault(log.pod.namespace, set()).update(holder.names)  # perhaps by its process alone
    return found


def _holds(job: JSON, names: set[str]) -> bool:
    """Whether the Job, which runs, has one of the names, or the CronJob that made it."""
    above = meta.owner(job)
    own: set[str] = {meta.name(job), *([above[1]] if above is not None else [])}
    return not _is_over(job) and bool(own & names)


def _is_over(job: JSON) -> bool:
    return any(meta.condition(job, kind).status == "True" for kind in ("Complete", "Failed"))
