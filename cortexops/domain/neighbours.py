"""What a release took from the containers that it left: a helper beside them in the pod, the CPU they need."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from cortexops.domain.change import DiffLine
from cortexops.domain.errors import InvalidInput
from cortexops.domain.kubernetes import complaints
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.quantity import parse_quantity
from cortexops.domain.releases import Release, changed
from cortexops.domain.resource import JSON

_LOOPBACK = re.compile(
    r"(?i)(?<![\w.])(?:127\.0\.0\.1|localhost|\[?::1\]?)(?:/127\.0\.0\.1)?[:, ]+(?:port )?(\d{2,5})\b"
)
_SIDECAR = "Always"


def _beside(template: JSON) -> dict[str, JSON]:
    """The containers that run all the time, by name."""
    found = {text(each, "name"): each for each in objects(template, "spec", "containers")}
    for each in objects(template, "spec", "initContainers"):
        if text(each, "restartPolicy") == _SIDECAR:
            found[text(each, "name")] = each
    return found


def _names_port(container: JSON, port: str) -> bool:
    """Whether its ports, arguments or variables hold the number."""
    told = json.dumps({key: container.get(key) for key in ("ports", "args", "command", "env")})
    return re.search(rf"(?<!\d){port}(?!\d)", told) is not None


def lost_neighbour(release: Release, said: Sequence[str]) -> tuple[str, str]:
    """(container that the release removed, what of the pod itself is refused since, `127.0.0.1:5432`); empty where
    it removed none, another listens there now, or the lines speak of no such address."""
    before, after = _beside(release.before), _beside(release.after)
    removed = {name: before[name] for name in before if name not in after}
    for line in reversed(complaints.unreachable(said)) if removed else ():
        for match in _LOOPBACK.finditer(line):
            port = match.group(1)
            if any(_names_port(after[name], port) for name in after if name not in before):
                continue
            known = [name for name, each in removed.items() if _names_port(each, port)]
            chosen = known or (list(removed) if len(removed) == 1 else [])
            if len(chosen) == 1:
                return chosen[0], f"127.0.0.1:{port}"
    return "", ""


def says_lost(release: Release, said: Sequence[str]) -> str:
    """The same in words; "" where there is nothing to say."""
    name, where = lost_neighbour(release, said)
    if not name:
        return ""
    return (
        f"; revision {release.revision} removed container {name}, which answered at {where} in the same pod"
    )


def cut_cpu(release: Release, container: str = "") -> DiffLine | None:
    """The changed limit that left a container (that one, if named) less than half of the CPU that it might use
    before."""
    for line in changed(release, "/resources/limits/cpu"):
        try:
            before, after = parse_quantity(line.before.strip('"')), parse_quantity(line.after.strip('"'))
        except InvalidInput:
            continue  # it had no limit before, or has none now
        if 2 * after < before and (not container or _limit_of(release, container) == line.after.strip('"')):
            return line
    return None


def _limit_of(release: Release, container: str) -> str:
    return text(release.container_after(container), "resources", "limits", "cpu")
