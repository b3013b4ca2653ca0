"""A program that was started again right after its configuration was changed, and what it says of the change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cortexops.domain.findings import Subject
from cortexops.domain.kubernetes import complaints, meta, pods
from cortexops.domain.kubernetes.values import texts
from cortexops.domain.releases import release_of
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene

_LATELY = timedelta(hours=6)
_AT_ONCE = timedelta(minutes=15)
_SLACK = timedelta(minutes=1)
_ISO = re.compile(r"\b(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,]\d+)?(?:Z| ?UTC|\+00:?00)?(?![+-]?\d)")
_EPOCH = re.compile(r"\"(?:ts|time|timestamp|@timestamp)\":\s*\"?(1\d{9})(?:\d{3})?(?:\.\d+)?\b")
_REREAD = re.compile(
    r"(?i)(\breload(?:ed|ing)?\b|\bre-?read\b|\bconfig(?:uration)?s? (?:has |was |file )?(?:change|update)[ds]?\b"
    r"|\b(?:got|received|applied|loaded) (?:a )?(?:new |runtime |updated )?(?:config|update|rules))"
)
_SIZE = re.compile(r"(?i)(?<![\w.])[^\d\s]{0,6}?(\d{1,15}(?:\.\d{1,3})?) ?([kmgt]?)(?:i?b|bytes)?(?![\w.-])")
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_SMALLEST = 2**16  # a lower number may be anything
_WORD = re.compile(r"(?<![\w-])[a-z]+(?:[-_][a-z]+)+(?![\w-])")
"""Words that somebody made up for a setting: `allkeys-random`, `max_clients`."""


class Restart(NamedTuple):
    """`key` is the one that was written, empty where that is not told; `at` when the first pod began again."""

    key: str
    write: meta.Write
    at: datetime
    released: bool
    """Whether a release of the program came with it, which may be at fault instead."""
    reread: bool = False
    """It went on running, and told at `at` that it had read its configuration again."""


def restarted_with(scene: Scene, server: Subject, ref: ResourceRef) -> Restart | None:
    """That the ConfigMap was changed shortly before the trouble and all that runs of the server began right after."""
    obj = scene.get(ref) or {}
    write, born = meta.writes(obj, "data"), meta.created(obj)
    if scene.clocks_apart or write is None or born is None or write.at - born <= _SLACK:
        return None
    if not scene.onset - _LATELY <= write.at <= scene.onset + _SLACK:
        return None
    begun = _begun(server)
    if not begun or min(begun) < write.at - _SLACK or min(begun) > write.at + _AT_ONCE:
        return None
    release = release_of(scene, server)
    with_it = (
        release is not None
        and release.at is not None
        and write.at - _AT_ONCE <= release.at <= max(begun) + _SLACK
    )
    return Restart(_key(obj, write), write, min(begun), with_it)


def reread_with(scene: Scene, server: Subject, ref: ResourceRef) -> Restart | None:
    """That the ConfigMap was changed shortly before the trouble and the server told right after that it read it
    again."""
    obj = scene.get(ref) or {}
    write, born = meta.writes(obj, "data"), meta.created(obj)
    if ref.kind != "ConfigMap" or write is None or born is None or write.at <= born:
        return None
    apart = scene.clocks_apart  # then only a change that was the last of all may be meant
    if apart and (scene.newest_write is None or write.at < scene.newest_write):
        return None
    lately = scene.onset - _LATELY <= write.at <= scene.onset + _SLACK
    if not apart and (write.at - born <= _SLACK or not lately):
        return None
    for pod, _ in server.pods:
        for log in scene.logs:
            told = log.lines if log.pod == pod and not log.previous else ()
            times = [at for line in told if _REREAD.search(line) and (at := written_at(line)) is not None]
            after = [at for at in times if apart or write.at - _SLACK <= at <= write.at + _AT_ONCE]
            if after:
                return Restart(_key(obj, write), write, max(after) if apart else min(after), False, True)
    return None


def _begun(server: Subject) -> list[datetime]:
    """When the present runs of its containers began; of a pod that does not tell, when it was made."""
    found = []
    for _, pod in server.pods:
        if pods.is_finished(pod) or meta.deleting_since(pod) is not None:
            continue
        since = [
            state.running_since
            for state in pods.container_states(pod)
            if state.running_since is not None and not state.init
        ]
        born = meta.created(pod)
        if since or born is not None:
            found.append(max([*since, *([born] if born is not None else [])]))
    return found


def _key(obj: JSON, write: meta.Write) -> str:
    """The only key that was written then, the others being older; "" where several were."""
    latest = [key for key, each in meta.key_writes(obj).items() if each.at == write.at]
    return latest[0] if len(latest) == 1 else ""


def written_at(line: str) -> datetime | None:
    """When a line of a log says that it was written, in UTC; None where it does not."""
    if match := _EPOCH.search(line):
        return datetime.fromtimestamp(int(match.group(1)), UTC)
    if match := _ISO.search(line):
        try:
            return datetime.fromisoformat(f"{match.group(1)}T{match.group(2)}+00:00")
        except ValueError:
            return None
    return None


def tells_of(obj: JSON, key: str, lines: Sequence[str]) -> list[str]:
    """The lines that show a size, a made-up word or the name of a setting that the key of the object holds."""
    values = texts(obj, "data")
    chosen = [values.get(key, "")] if key else list(values.values())
    sizes = {size for value in chosen for size in _sizes(value)}
    names = {word for value in chosen for word in _WORD.findall(value)}
    return [
        line
        for line in lines
        if sizes & set(_sizes(line)) or any(complaints.names(line, name) for name in names)
    ]


def _sizes(text: str) -> list[int]:
    """Amounts of memory in bytes, however they are written: `-Xmx256m`, `64mb`, `67108864`."""
    found = [
        int(float(amount) * _UNITS[unit.lower()]) for amount, unit in _SIZE.findall(_OPTION.sub(" ", text))
    ]
    return [size for size in found if size >= _SMALLEST]


_OPTION = re.compile(r"-X(?:m[sxn]|ss|X:\w+=)")
