"""Volumes that are kept in memory: what is written to them counts against the container's memory limit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from cortexops.domain.kubernetes import pods
from cortexops.domain.kubernetes.values import amount, mapping, objects, text
from cortexops.domain.releases import Release
from cortexops.domain.resource import JSON

_SHARE = Decimal("0.5")  # of the limit: a volume that may not hold so much does not fill it
_AMOUNT = re.compile(r"(?i)\b(\d+(?:\.\d+)?) ?([kmgt])i?b?\b")
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_FULL = re.compile(r"(?i)no space left|cannot allocate memory|\btmpfs\b|out of memory|\bfull\b")


class MemoryVolume(NamedTuple):
    """A volume of medium Memory that a container mounts. `size` is its own limit, empty where it has none."""

    name: str
    path: str
    size: str

    @property
    def words(self) -> str:
        size = f"sizeLimit {self.size}" if self.size else "without a sizeLimit"
        return f"emptyDir {self.name} (medium Memory, a tmpfs at {self.path}, {size})"


def mounted(template: JSON, container: str) -> list[MemoryVolume]:
    """Those that may grow to a good part of the container's memory limit, in a pod or a pod template."""
    spec = pods.spec_of(template, container)
    limit = amount(spec, "resources", "limits", "memory")
    paths = {
        text(mount, "name"): text(mount, "mountPath")
        for mount in objects(spec, "volumeMounts")
        if mount.get("readOnly") is not True
    }
    found = []
    for volume in objects(template, "spec", "volumes"):
        kept = mapping(volume, "emptyDir")
        size = amount(kept, "sizeLimit")
        small = size is not None and limit is not None and size < limit * _SHARE
        if text(kept, "medium") == "Memory" and text(volume, "name") in paths and not small:
            name = text(volume, "name")
            found.append(MemoryVolume(name, paths[name], text(kept, "sizeLimit")))
    return found


def brought_by(release: Release, container: str) -> MemoryVolume | None:
    """The volume that the release put into memory, mounted anew or let grow."""
    before = {each.name: each for each in mounted(release.before, container)}
    for volume in mounted(release.after, container):
        old = before.get(volume.name)
        if old is None or _grew(old.size, volume.size):
            return volume
    return None


def _grew(before: str, after: str) -> bool:
    old, new = amount({"of": before}, "of"), amount({"of": after}, "of")
    return old is not None and (new is None or new > old)


def told_of(
    volumes: Sequence[MemoryVolume], limit: Decimal | None, lines: Sequence[str]
) -> tuple[MemoryVolume, str] | None:
    """The volume of which the program's own words say that it holds a good part of the limit, or is full, and
    the last such line."""
    for line in reversed(lines):
        for volume in volumes:
            if _names(line, volume.path) and (_FULL.search(line) or _much(line, limit)):
                return volume, line
    return None


def _much(line: str, limit: Decimal | None) -> bool:
    sizes = [Decimal(number) * _UNITS[unit.lower()] for number, unit in _AMOUNT.findall(line)]
    return limit is not None and any(size >= limit * _SHARE for size in sizes)


def _names(line: str, path: str) -> bool:
    return (
        len(path) > 2 and re.search(rf"(?<![\w/.-]){re.escape(path.rstrip('/'))}(?![\w.-])", line) is not None
    )
