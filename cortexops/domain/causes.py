"""Which troubles are part of another's incident: a node that failed under pods, a quota that stops a whole
namespace, a changed configuration, a release of several workloads, a dependency that others call.

Everything here depends on what the signals say and on nothing else: not on the order in which they came. A
trouble that looked like a cause of its own can therefore turn out to be part of another when more is known;
its incident is then absorbed. What has a reason of its own (a container that ran out of memory, an image that
is not there) is never explained away by a neighbour's trouble.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
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


class Span(NamedTuple):
    """The first and the last time (Unix) at which a sign began."""

    first: float
    last: float


class _Member(NamedTuple):
    """A sign that may be one of several with a common cause."""

    span: Span
    key: str
    sign: Sign
    explained: bool = True
    over: bool = False


@dataclass(slots=True)
class Trouble:
    """All that is known to be wrong with one workload, node or other object."""

    key: str
    resource: ResourceRef
    signs: dict[Sign, Span] = field(default_factory=dict, init=False)
    has_own_reason: bool = field(default=False, init=False)
    obstructed: bool = field(default=False, init=False)
    """Whether something refuses its pods."""
    over: set[Sign] = field(default_factory=set, init=False)
    """Signs of which only the end is known. They may belong to another's incident, and cause nothing."""
    _began: dict[SignalType, float] = field(default_factory=dict, init=False)

    def add(self, sign: Sign, at: float, *, over: bool = False) -> None:
        """The sign began at this Unix time, perhaps once more; `over`: it is the news of its end."""
        known = self.signs.get(sign)
        if known is not None and over is not (sign in self.over):
            if over:
                return
            self.over.discard(sign)
            known = None
        if known is None:
            self.signs[sign] = Span(at, at)
            self.obstructed = self.obstructed or bool(sign.obstacle)
            if over:
                self.over.add(sign)
            else:
                self.has_own_reason = self.has_own_reason or sign.type in _OWN_REASON
        elif known.first <= at <= known.last:
            return
        else:
            self.signs[sign] = Span(min(at, known.first), max(at, known.last))
        if not over:
            self._began[sign.type] = min(at, self._began.get(sign.type, at))

    def first(self, types: Iterable[SignalType]) -> float | None:
        """When the first sign of these types began."""
        return min((self._began[type] for type in types if type in self._began), default=None)


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
    direct: dict[tuple[str, Sign], list[Link]] = defaultdict(list)
    for rule in (  # the surest first
        _under_nodes(known, around),
        _stopped_by_obstacles(known),
        _by_configuration(known, around),
        _by_release(known, around),
        _by_dependency(known, around),
    ):
        for place, link in rule.items():
            direct[place].append(link)
    ways: dict[str, list[Link]] = {}  # out of each trouble of which every sign is explained
    for key, trouble in known.items():
        firing = trouble.signs.keys() - trouble.over
        if firing and all((key, sign) in direct for sign in firing):
            ways[key] = [link for sign in trouble.signs if sign in firing for link in direct[key, sign]]
    ends = {key: _end(key, ways) for key in known}
    of_sign: dict[tuple[str, Sign], Link] = {}
    for place, links in direct.items():
        key, _ = place
        ahead = [Link(ends[link.key], link.reason) for link in links if ends[link.key] != key]
        if ahead and not (key in ways and ends[key] == key):  # the end of a circle keeps what is its own
            of_sign[place] = ahead[0]
    whole = {key: Link(ends[key], _reason(ways[key])) for key in ways if ends[key] != key}
    return Assignment(of_sign, whole)


def _reason(ways: list[Link]) -> LinkReason:
    """The surest of several."""
    return min((link.reason for link in ways), key=list(LinkReason).index)


def _end(start: str, ways: Mapping[str, list[Link]]) -> str:
    """Where the explanations of a trouble end: at one that has something of its own, the nearest first. Where
    they only run in circles, the first by name of those that all lead to each other."""
    for key in (reached := _reached(start, ways)):
        if key not in ways:
            return key
    around = {key: set(_reached(key, ways)) for key in reached}
    return min(key for key in reached if all(key in around[other] for other in around[key]))


def _reached(start: str, ways: Mapping[str, list[Link]]) -> list[str]:
    """The trouble itself and all that it may be part of, nearest first."""
    found = {start: None}
    queue = deque([start])
    while queue:
        for link in ways.get(queue.popleft(), ()):
            if link.key not in found:
                found[link.key] = None
                queue.append(link.key)
    return list(found)


def _where(trouble: Trouble, sign: Sign) -> str:
    return f"{trouble.resource.namespace}/{sign.pod}"


def _under_nodes(known: Mapping[str, Trouble], around: Surroundings) -> dict[tuple[str, Sign], Link]:
    failed: dict[tuple[str, str], tuple[str, float]] = {}
    for trouble in known.values():
        if trouble.resource.kind != "Node":
            continue
        began = trouble.first([_T.NODE_NOT_READY])
        if began is not None:
            failed[trouble.resource.cluster, trouble.resource.name] = trouble.key, began
    found: dict[tuple[str, Sign], Link] = {}
    if not failed:
        return found
    for key, trouble in known.items():
        if trouble.resource.kind == "Node":
            continue
        for sign, span in trouble.signs.items():
            if sign.type not in _UNDER_A_NODE or (not sign.pod and trouble.has_own_reason):
                continue
            on = [around.node_of.get(_where(trouble, sign), "")] if sign.pod else around.nodes.get(key, ())
            causes = [failed[where] for node in on if (where := (trouble.resource.cluster, node)) in failed]
            causes = [cause for cause in causes if span.first >= cause[1] - NODE_LEAD]
            if causes:
                found[key, sign] = Link(min(causes)[0], LinkReason.SAME_NODE)
    return found


def _stopped_by_obstacles(known: Mapping[str, Trouble]) -> dict[tuple[str, Sign], Link]:
    stopped: dict[tuple[str, str, str], list[_Member]] = defaultdict(list)
    for key, trouble in known.items():
        if not trouble.obstructed or trouble.resource.kind == "Node":
            continue
        for sign, span in trouble.signs.items():
            if sign.obstacle:
                place = trouble.resource.namespace if sign.obstacle.startswith("quota/") else ""
                member = _Member(span, key, sign, over=sign in trouble.over)
                stopped[trouble.resource.cluster, place, sign.obstacle].append(member)
    return _behind_the_first(stopped.values(), LinkReason.NAMESPACE_WIDE)


def _by_configuration(known: Mapping[str, Trouble], around: Surroundings) -> dict[tuple[str, Sign], Link]:
    users: dict[str, list[_Member]] = defaultdict(list)
    for key, trouble in known.items():
        for config in around.uses.get(key, ()):
            changed = around.changed.get(config)
            if changed is not None:
                users[config] += _after(changed, CONFIG_AGE, trouble, _FROM_A_CONFIG)
    latest = sorted(users, key=lambda name: (-around.changed[name], name))
    return _behind_the_first([users[config] for config in latest], LinkReason.SAME_CONFIG)


def _by_release(known: Mapping[str, Trouble], around: Surroundings) -> dict[tuple[str, Sign], Link]:
    parts: dict[str, list[_Member]] = defaultdict(list)
    for key, trouble in known.items():
        if key in around.released:
            release, at = around.released[key]
            parts[release] += _after(at, TOGETHER, trouble, _FROM_A_RELEASE)
    return _behind_the_first(parts.values(), LinkReason.SAME_ROLLOUT)


def _after(change: float, most: float, trouble: Trouble, types: frozenset[SignalType]) -> Iterable[_Member]:
    """Signs that a change may have caused. One that was there before it is not explained by it, yet still
    shows that the others belong together."""
    for sign, span in trouble.signs.items():
        if sign.type in types and span.last >= change - SLACK and span.first <= change + most:
            explained, over = span.first >= change - SLACK, sign in trouble.over
            yield _Member(span, trouble.key, sign, explained, over)


def _by_dependency(known: Mapping[str, Trouble], around: Surroundings) -> dict[tuple[str, Sign], Link]:
    found: dict[tuple[str, Sign], Link] = {}
    for key, trouble in known.items():
        if not around.calls.get(key) or trouble.has_own_reason:
            continue
        causes = []
        for called in around.calls[key]:
            began = known[called].first(_UPSTREAM) if called in known and called != key else None
            if began is not None:
                causes.append((began, called))
        for sign, span in trouble.signs.items():
            before = [called for began, called in sorted(causes) if span.first >= began - SLACK]
            if sign.type in _SUFFERING and not sign.obstacle and before:
                found[key, sign] = Link(before[0], LinkReason.SHARED_DEPENDENCY)
    return found


def _behind_the_first(groups: Iterable[list[_Member]], reason: LinkReason) -> dict[tuple[str, Sign], Link]:
    """Equals, of which the first to complain stands for all. Who begins much later is not one of them; those
    in between hold them together, so that one more signal can only join what was apart."""
    found: dict[tuple[str, Sign], Link] = {}
    for group in groups:
        group.sort()
        first, until = "", float("-inf")
        for member in group:
            late = member.span.first > until + TOGETHER
            if member.over:  # it stands for nothing, and holds nothing together
                if late:
                    continue
            else:
                first = member.key if late else first
                until = max(until, member.span.last)
            if member.key != first and member.explained:
                found.setdefault((member.key, member.sign), Link(first, reason))
    return found
