"""Which databases a workload's configuration names, who their clients are, and what made a client ask for more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from cortexops.domain.findings import Subject, template_spec
from cortexops.domain.kubernetes import hosts, meta, pods
from cortexops.domain.kubernetes.references import config_uses
from cortexops.domain.kubernetes.values import mapping, objects, text, texts, words
from cortexops.domain.releases import Release, release_of
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.seen import means_service

KINDS = ("Deployment", "StatefulSet", "DaemonSet", "Rollout", "CronJob")
"""What may be a database's client, and is released or scaled."""
_POOL = re.compile(
    r"(?i)(pool|max[ _-]?conn|connection[ _-]?limit|max[ _-]?(?:open|idle|active)|min[ _-]?idle|workers|threads"
    r"|concurrency|prefetch)"
)
_PAIR = re.compile(r"([A-Za-z][A-Za-z _.-]{1,40}?)[\"']?\s*[=:]\s*[\"']?(\d{1,6})\b")
_NUMBER = re.compile(r"^\"?(\d{1,6})\"?$")
_OF_A_DATABASE = re.compile(
    r"(?i)(jdbc:|postgres|mysql|maria|sqlserver|oracle|mongo|cockroach|redis:|dsn|database|datasource|(?:^|_)db(?:_|$)"
    r"|pg_?host|sql)"
)
_CACHE = re.compile(r"(?i)(redis|valkey|memcache)")
_SCALED = re.compile(r"Scaled up replica set \S+ (?:from (\d+) to (\d+)|to (\d+) from (\d+))")
_LATELY = timedelta(hours=6)
_SLACK = timedelta(minutes=2)
_ADDED = timedelta(minutes=5)


class Grown(NamedTuple):
    """That a client of a database may hold more connections than before: in what words, since when."""

    ref: ResourceRef
    says: str
    at: datetime
    release: Release | None = None
    config: ResourceRef | None = None
    key: str = ""
    sure: bool = True
    """Whether the size before is known."""


def settings(template: JSON, configs: dict[str, dict[str, str]]) -> Iterator[tuple[str, str]]:
    """(name, value) of all that a pod spec gives its containers as variables, arguments and ConfigMaps' lines."""
    for container in pods.containers(template):
        for entry in objects(container, "env"):
            yield text(entry, "name"), text(entry, "value")
        for argument in words(container, "args") + words(container, "command"):
            option, _, value = argument.partition("=")
            yield option, value or argument
    for data in configs.values():
        for key, value in data.items():
            for line in value.splitlines()[:500]:
                inner, _, rest = line.partition("=" if "=" in line else ":")
                yield (inner.strip(), rest.strip().strip("\"'")) if "\n" in value else (key, line.strip())


def database_hosts(template: JSON, configs: dict[str, dict[str, str]], *, caches: bool = True) -> list[str]:
    """Hosts that the configuration gives for a database, as the name of the setting or its value tells; with or
    without `caches`."""
    found: list[str] = []
    for name, value in settings(template, configs):
        if not caches and (_CACHE.search(name) or _CACHE.search(value)):
            continue
        if _OF_A_DATABASE.search(name) or _OF_A_DATABASE.search(value):
            found += hosts.hosts_in_value(name, value)
            found += re.findall(r"(?i)\b(?:host|server|data source)=([\w.-]+)", value)
    return list(dict.fromkeys(host.lower() for host in found))


def configs_of(scene: Scene, subject: Subject) -> dict[str, dict[str, str]]:
    """The ConfigMaps that the subject reads, as far as they were read."""
    return {
        use.name: texts(live, "data")
        for use in config_uses(template_spec(subject))
        if use.kind == "ConfigMap"
        and (live := scene.get(scene.ref("ConfigMap", subject.ref.namespace, use.name))) is not None
    }


def outside(scene: Scene, subject: Subject) -> str:
    """The host outside the cluster that is the subject's only database; "" where there is none, or another too."""
    found: set[str] = set()
    for host in database_hosts(template_spec(subject), configs_of(scene, subject), caches=False):
        address = hosts.service_address(host, subject.ref.namespace)
        service = scene.get(scene.ref("Service", *address)) if address is not None else None
        alias = text(service or {}, "spec", "externalName")
        if not alias and (service is not None or not hosts.is_external(host)):
            return ""  # it has one in the cluster
        found.add(alias or host)
    return found.pop() if len(found) == 1 else ""


def clients(scene: Scene, service: ResourceRef) -> list[Subject]:
    """The workloads whose configuration names the Service as their database."""
    found = []
    for kind in KINDS:
        for ref, obj in scene.of_kind(kind):
            subject = Subject(ref, obj, tuple(scene.pods_of(ref)))
            named = database_hosts(template_spec(subject), configs_of(scene, subject))
            if any(means_service(scene, host, service, ref.namespace) for host in named):
                found.append(subject)
    return found


def grown(scene: Scene, subject: Subject) -> Grown | None:
    """What lets the subject hold more connections than before, if that came shortly before the trouble."""
    release = release_of(scene, subject)
    if release is not None and release.at is not None and _before(scene, release.at):
        former = dict(_given(release.before))
        for name, value in _given(release.after):
            if _POOL.search(name) and _rises(former.get(name, ""), value):
                says = f"{name} {former.get(name) or '(absent)'} → {value}"
                return Grown(subject.ref, says, release.at, release)
            for pair, before, after in _pairs(former.get(name, ""), value):
                says = f"{pair} {before or '(absent)'} → {after} in {name}"
                return Grown(subject.ref, says, release.at, release)
    for use in config_uses(template_spec(subject)):
        ref = scene.ref(use.kind, subject.ref.namespace, use.name)
        live = scene.get(ref) or {}
        born, old = meta.created(live), meta.applied_values(live)
        for key, write in meta.key_writes(live).items() if use.kind == "ConfigMap" else ():
            if born is None or write.at - born <= _SLACK or not _before(scene, write.at):
                continue
            value = texts(live, "data").get(key, "")
            was = old.get(key, "") if old.get(key) != value else ""
            if (_POOL.search(key) and (not was or _rises(was, value))) or (was and _pairs(was, value)):
                says = f"key {key} of {ref}: {was or '(unknown)'} → {value[:120]}"
                return Grown(subject.ref, says, write.at, config=ref, key=key, sure=bool(was))
    return _scaled(scene, subject)


def _given(template: JSON) -> Iterator[tuple[str, str]]:
    """(name, value) of what a template gives its containers: variables, and their arguments as one text."""
    for container in pods.containers(mapping(template, "spec")):
        for entry in objects(container, "env"):
            yield text(entry, "name"), text(entry, "value")
        told = " ".join([*words(container, "command"), *words(container, "args")])
        yield f"the arguments of {text(container, 'name')}", told


def _scaled(scene: Scene, subject: Subject) -> Grown | None:
    for event in scene.events_about(subject.ref, "ScalingReplicaSet"):
        match = _SCALED.search(event.message)
        at = event.last or event.first
        if match is None or at is None or not _before(scene, at):
            continue
        was, now = (match.group(1), match.group(2)) if match.group(1) else (match.group(4), match.group(3))
        if int(now) >= 2 * max(int(was), 1) and int(was) > 0:
            return Grown(subject.ref, f"replicas {was} → {now}", at)
    return _by_its_pods(scene, subject)


def rescaled(workload: JSON) -> datetime | None:
    """When its number of replicas was written last, if that was after it was made."""
    write, born = meta.writes(workload, "spec", "replicas"), meta.created(workload)
    late = write is not None and born is not None and write.at > born
    return write.at if write is not None and late else None


def _by_its_pods(scene: Scene, subject: Subject) -> Grown | None:
    """The same where no event tells: most of its pods were made right after its replicas were written, and the
    others are older."""
    at = rescaled(subject.obj)
    made_at = meta.created(subject.obj)
    if at is None or made_at is None:
        return None
    slack = timedelta() if scene.clocks_apart else _SLACK  # then the order of writes is all that is known
    if not scene.clocks_apart and (at - made_at <= slack or not _before(scene, at)):
        return None
    born = [made for _, pod in subject.pods if (made := meta.created(pod)) is not None]
    older = [made for made in born if made < at - slack]
    added = [made for made in born if made >= at - slack]
    if not older or len(added) < len(older) or max(added) > at + _ADDED:
        return None  # others came later: pods were replaced meanwhile, too
    return Grown(subject.ref, f"replicas {len(older)} → {len(born)}", at)


def _before(scene: Scene, at: datetime) -> bool:
    return scene.onset - _LATELY <= at <= scene.onset + _SLACK


def _rises(before: str, after: str) -> bool:
    was, now = _NUMBER.match(before.strip()), _NUMBER.match(after.strip())
    return now is not None and int(now.group(1)) > (int(was.group(1)) if was is not None else 0)


def _pairs(before: str, after: str) -> list[tuple[str, str, str]]:
    """(name, before, after) of the sizes of pools inside a value, as a connection string has them, that rose."""
    was = {name.strip().lower(): number for name, number in _PAIR.findall(before)}
    return [
        (name.strip(), was.get(name.strip().lower(), ""), number)
        for name, number in _PAIR.findall(after)
        if _POOL.search(name) and int(number) > int(was.get(name.strip().lower(), "0"))
    ]
