"""Which troubles are part of another's incident: a node that failed under pods, a quota that stops a whole
namespace, a changed configuration, a release of several workloads, a dependency that others call.

Everything here depends on what the signals say and on nothing else: not on the order in which they came. A
trouble that looked like a cause of its own can therefore turn out to be part of another when more is known;
its incident is then absorbed. What has a reason of its own (a container that ran out of memory, an image that
is not there) is never explained away by a neighbour's trouble.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cortexops.domain.links import LinkReason
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import SignalType

_T = SignalType

NODE_LEAD = 16 * 60.0
"""Seconds by which pods may complain before their node does: the usual rule for nodes
(kubernetes-mixin, KubeNodeNotReady) waits 15 minutes."""
SLACK = 120.0
"""Seconds by which clocks and scrape intervals may put an effect before its cause."""
CONFIG_AGE = 24 * 3600.0
"""Seconds after its change in which a configuration is suspected: a pod reads it when it starts next."""
TOGETHER = 15 * 60.0
"""Seconds within which the users of a configuration, or the parts of a release, must begin to complain."""

_OWN_REASON = frozenset({_T.OOM_KILL, _T.CRASH_LOOP, _T.IMAGE_PULL, _T.MEMORY_HIGH, _T.CPU_HIGH})
_SUFFERING = frozenset({_T.PROBE_FAILURE, _T.REPLICAS_MISSING, _T.ROLLOUT_STUCK, _T.ERROR_RATE, _T.LATENCY})
_UNDER_A_NODE = _SUFFERING | {_T.SCHEDULING, _T.OTHER}
_FROM_A_CONFIG = _SUFFERING | {_T.CRASH_LOOP}
_FROM_A_RELEASE = _FROM_A_CONFIG | {_T.OOM_KILL, _T.IMAGE_PULL}
_UPSTREAM = _SUFFERING | _OWN_REASON


class Sign(NamedTuple):
    """One sort of complaint about one object."""

    type: SignalType
    pod: str = ""  # name of the pod that complains; empty when the workload as a whole does
    obstacle: str = ""  # quota/… or webhook/… that refuses its pods


@dataclass(slots=True)
class Trouble:
    """All that is known to be wrong with one workload, node or other object."""

    key: str
    resource: ResourceRef
    signs: dict[Sign, float] = field(default_factory=dict)
    """Each sign with the Unix time of its first beginning."""

    def add(self, sign: Sign, at: float) -> None:
        known = self.signs.get(sign)
        if known is None or at < known:
            self.signs[sign] = at

    @property
    def began(self) -> float:
        return min(self.signs.values())

    @property
    def has_own_reason(self) -> bool:
        return any(sign.type in _OWN_REASON for sign in self.signs)


@dataclass(frozen=True)
class Surroundings:
    """What the cluster says about objects in trouble. What could not be asked is absent, and links nothing."""

    node_of: Mapping[str, str] = field(default_factory=dict)
    """`namespace/pod` → node."""
    nodes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Key of a workload → nodes that its pods are on."""
    uses: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Key of a workload → configurations it reads."""
    changed: Mapping[str, float] = field(default_factory=dict)
    """Configuration → Unix time of its last change."""
    calls: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Key of a workload → keys of workloads behind the Services that its configuration names."""
    released: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    """Key of a workload → name of its release, Unix time of its last rollout."""


class Link(NamedTuple):
    """Part of whose incident, and why."""

    key: str
    reason: LinkReason


class Assignment(NamedTuple):
    """`of_sign`: where each explained sign belongs; `whole`: troubles of which every sign is explained."""

    of_sign: dict[tuple[str, Sign], Link]
    whole: dict[str, Link]

    def target(self, key: str, sign: Sign) -> Link | None:
        """Where a signal of this key and sign belongs; None for its own incident."""
        return self.of_sign.get((key, sign))


def assign(troubles: Iterable[Trouble], around: Surroundings) -> Assignment:
    """Link what is explained, chains followed to their end."""
    known = {trouble.key: trouble for trouble in troubles if trouble.signs}
    rules = [
        _under_nodes(known, around),
        _stopped_by_obstacles(known),
        _by_configuration(known, around),
        _by_release(known, around),
        _by_dependency(known, around),
    ]
    direct: dict[tuple[str, Sign], Link] = {}
    for links in rules:  # the first rule that explains a sign is the one that counts
        for place, link in links.items():
            direct.setdefault(place, link)
    whole = _wholly_explained(known, direct)
    of_sign = {
        place: Link(_end(link.key, whole, place[0]), link.reason)
        for place, link in direct.items()
        if _end(link.key, whole, place[0]) != place[0]
    }
    ends = {
        key: Link(end, link.reason)
        for key, link in whole.items()
        if (end := _end(link.key, whole, key)) != key and all((key, s) in of_sign for s in known[key].signs)
    }
    return Assignment(of_sign, ends)


def _wholly_explained(
    known: Mapping[str, Trouble], direct: Mapping[tuple[str, Sign], Link]
) -> dict[str, Link]:
    whole: dict[str, Link] = {}
    for key, trouble in known.items():
        links = [direct.get((key, sign)) for sign in trouble.signs]
        if all(link is not None for link in links):
            order = list(LinkReason)
            whole[key] = min(
                (link for link in links if link), key=lambda li: (order.index(li.reason), li.key)
            )
    return whole


def _end(key: str, whole: Mapping[str, Link], start: str) -> str:
    """The end of a chain of explanations. Where it runs in a circle, the first by name stands for all."""
    path = [start, key]
    while (link := whole.get(path[-1])) is not None:
        if link.key in path:
            return min(path[path.index(link.key) :]) if link.key in whole else link.key
        path.append(link.key)
    return path[-1]


def _where(trouble: Trouble, sign: Sign) -> str:
    return f"{trouble.resource.namespace}/{sign.pod}"


def _under_nodes(known: Mapping[str, Trouble], around: Surroundings) -> dict[tuple[str, Sign], Link]:
    failed: dict[tuple[str, str], tuple[str, float]] = {}
    for trouble in known.values():
        if trouble.resource.kind == "Node":
            times = [at for sign, at in trouble.signs.items() if sign.type is _T.NODE_NOT_READY]
            if times:
                failed[trouble.resource.cluster, trouble.resource.name] = trouble.key, min(times)
    found: dict[tuple[str, Sign], Link] = {}
    if not failed:
        return found
    for key, trouble in known.items():
        if trouble.resource.kind == "Node":
            continue
        for sign, at in trouble.signs.items():
            if sign.type not in _UNDER_A_NODE or (not sign.pod and trouble.has_own_reason):
                continue
            on = [around.node_of.get(_where(trouble, sign), "")] if sign.pod else around.nodes.get(key, ())
            causes = [failed[where] for node in on if (where := (trouble.resource.cluster, node)) in failed]
            causes = [cause for cause in causes if at >= cause[1] - NODE_LEAD]
            if causes:
                found[key, sign] = Link(min(causes)[0], LinkReason.SAME_NODE)
    return found


def _stopped_by_obstacles(known: Mapping[str, Trouble]) -> dict[tuple[str, Sign], Link]:
    stopped: dict[tuple[str, str, str], list[tuple[float, str, Sign]]] = defaultdict(list)
    for key, trouble in known.items():
        for sign, at in trouble.signs.items():
            if sign.obstacle:
                place = trouble.resource.namespace if sign.obstacle.startswith("quota/") else ""
                stopped[trouble.resource.cluster, place, sign.obstacle].append((at, key, sign))
    return _of_the_first(stopped.values(), LinkReason.NAMESPACE_WIDE)


def _by_configuration(known: Mapping[str, Trouble], around: Surroundings) -> dict[tuple[str, Sign], Link]:
    users: dict[str, list[tuple[float, str, Sign]]] = defaultdict(list)
    for key, trouble in known.items():
        for config in around.uses.get(key, ()):
            changed = around.changed.get(config)
            if changed is None:
                continue
            for sign, at in trouble.signs.items():
                if sign.type in _FROM_A_CONFIG and changed - SLACK <= at <= changed + CONFIG_AGE:
                    users[config].append((at, key, sign))
    found: dict[tuple[str, Sign], Link] = {}
    for config in sorted(users, key=lambda name: (-around.changed[name], name)):  # the latest change first
        for place, link in _of_the_first([users[config]], LinkReason.SAME_CONFIG, TOGETHER).items():
            found.setdefault(place, link)
    return found


def _by_release(known: Mapping[str, Trouble], around: Surroundings) -> dict[tuple[str, Sign], Link]:
    parts: dict[str, list[tuple[float, str, Sign]]] = defaultdict(list)
    for key, trouble in known.items():
        release, at_release = around.released.get(key, ("", 0.0))
        for sign, at in trouble.signs.items():
            if release and sign.type in _FROM_A_RELEASE and at_release - SLACK <= at <= at_release + TOGETHER:
                parts[release].append((at, key, sign))
    return _of_the_first(parts.values(), LinkReason.SAME_ROLLOUT, TOGETHER)


def _by_dependency(known: Mapping[str, Trouble], around: Surroundings) -> dict[tuple[str, Sign], Link]:
    found: dict[tuple[str, Sign], Link] = {}
    for key, trouble in known.items():
        if trouble.has_own_reason:
            continue
        for sign, at in trouble.signs.items():
            if sign.type not in _SUFFERING:
                continue
            causes = []
            for called in around.calls.get(key, ()):
                upstream = known.get(called)
                if upstream is None or called == key:
                    continue
                times = [began for other, began in upstream.signs.items() if other.type in _UPSTREAM]
                if times and at >= min(times) - SLACK:
                    causes.append((min(times), called))
            if causes:
                found[key, sign] = Link(min(causes)[1], LinkReason.SHARED_DEPENDENCY)
    return found


def _of_the_first(
    groups: Iterable[Sequence[tuple[float, str, Sign]]], reason: LinkReason, within: float | None = None
) -> dict[tuple[str, Sign], Link]:
    """Equals, of which the first to complain stands for all that complain within so many seconds of it."""
    found: dict[tuple[str, Sign], Link] = {}
    for group in groups:
        began, first, _ = min(group)
        for at, key, sign in group:
            if key != first and (within is None or at <= began + within):
                found[key, sign] = Link(first, reason)
    return found
