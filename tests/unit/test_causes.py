"""Which troubles are one incident, and that the order in which they become known plays no part."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.causes import (
    NODE_LEAD,
    TOGETHER,
    Assignment,
    Link,
    Sign,
    Surroundings,
    Trouble,
    assign,
)
from cortexops.domain.correlation import key_of
from cortexops.domain.links import LinkReason
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import SignalType

T = SignalType
NOW = 1_000_000.0
NODE = ResourceRef(cluster="c", kind="Node", name="n1")


def app(name: str, namespace: str = "shop") -> ResourceRef:
    return ResourceRef(cluster="c", kind="Deployment", namespace=namespace, name=name)


def trouble(resource: ResourceRef, *signs: Sign | SignalType, at: float = NOW) -> Trouble:
    made = Trouble(key_of(resource), resource)
    for sign in signs:
        made.add(sign if isinstance(sign, Sign) else Sign(sign), at)
    return made


def whole(assignment: Assignment) -> dict[str, tuple[str, LinkReason]]:
    short = {key: key.rpartition(":")[2] for key in assignment.whole}
    return {short[k]: (li.key.rpartition(":")[2], li.reason) for k, li in assignment.whole.items()}


def pod(name: str, type: SignalType = T.PROBE_FAILURE) -> Sign:
    return Sign(type, pod=name)


AROUND = Surroundings(
    node_of={"shop/a-1": "n1", "shop/b-1": "n1", "shop/c-1": "n2"},
    nodes={key_of(app("a")): frozenset({"n1"}), key_of(app("d")): frozenset({"n1", "n2"})},
    uses={key_of(app(n)): frozenset({"ConfigMap/shop/env"}) for n in ("a", "b", "c")},
    changed={},
    calls={
        key_of(app("web")): frozenset({key_of(app("api"))}),
        key_of(app("api")): frozenset({key_of(app("db"))}),
    },
)


def test_what_runs_on_a_node_that_is_not_ready_is_the_nodes_incident() -> None:
    found = assign(
        [
            trouble(NODE, T.NODE_NOT_READY),
            trouble(app("a"), pod("a-1"), T.REPLICAS_MISSING),
            trouble(app("b"), pod("b-1")),
            trouble(app("c"), pod("c-1")),  # on another node
            trouble(app("d"), T.ERROR_RATE),
        ],
        AROUND,
    )
    assert whole(found) == dict.fromkeys(("a", "b", "d"), ("n1", LinkReason.SAME_NODE))


def test_pods_may_complain_long_before_the_alert_about_their_node() -> None:
    node = trouble(NODE, T.NODE_NOT_READY)
    early = trouble(app("a"), pod("a-1"), at=NOW - NODE_LEAD + 1)
    assert whole(assign([node, early], AROUND)) == {"a": ("n1", LinkReason.SAME_NODE)}
    earlier = trouble(app("a"), pod("a-1"), at=NOW - NODE_LEAD - 1)
    assert whole(assign([node, earlier], AROUND)) == {}


@pytest.mark.parametrize("own", [T.OOM_KILL, T.CRASH_LOOP, T.IMAGE_PULL])
def test_what_has_its_own_reason_stays_apart_from_a_failed_node(own: SignalType) -> None:
    node, other = trouble(NODE, T.NODE_NOT_READY), trouble(app("a"), pod("a-1"), pod("a-1", own))
    found = assign([node, other], AROUND)
    assert found.whole == {}
    assert found.target(other.key, pod("a-1")) == Link(node.key, LinkReason.SAME_NODE)
    assert found.target(other.key, pod("a-1", own)) is None


def test_a_full_quota_is_one_incident_of_its_namespace_and_a_webhook_one_of_the_cluster() -> None:
    quota, hook = Sign(T.REPLICAS_MISSING, "", "quota/q"), Sign(T.REPLICAS_MISSING, "", "webhook/w")
    found = assign(
        [
            trouble(app("b"), quota, at=NOW + 1),
            trouble(app("a"), quota, at=NOW),
            trouble(app("x", "other"), quota),
            trouble(app("h1"), hook),
            trouble(app("h2", "other"), hook, at=NOW + 2),
        ],
        Surroundings(),
    )
    assert whole(found) == {
        "b": ("a", LinkReason.NAMESPACE_WIDE),
        "h2": ("h1", LinkReason.NAMESPACE_WIDE),
    }


def test_readers_of_a_configuration_that_changed_are_one_incident() -> None:
    changed = Surroundings(uses=AROUND.uses, changed={"ConfigMap/shop/env": NOW - 6 * 3600})
    troubles = [
        trouble(app("a"), T.CRASH_LOOP),
        trouble(app("b"), T.CRASH_LOOP, at=NOW + 60),
        trouble(app("c"), T.CRASH_LOOP, at=NOW + 60 + TOGETHER + 1),  # hours are no common cause
    ]
    assert whole(assign(troubles, changed)) == {"b": ("a", LinkReason.SAME_CONFIG)}
    assert assign(troubles, Surroundings(uses=AROUND.uses)).whole == {}  # it did not change
    before = Surroundings(uses=AROUND.uses, changed={"ConfigMap/shop/env": NOW + 3600})
    assert assign(troubles, before).whole == {}


def test_parts_of_one_release_that_fail_after_it_are_one_incident() -> None:
    released = {key_of(app(n)): ("shop/v2", NOW - 10) for n in "ab"} | {key_of(app("c")): ("shop/v9", NOW)}
    troubles = [trouble(app(n), T.CRASH_LOOP, at=NOW + i) for i, n in enumerate("abc")]
    assert whole(assign(troubles, Surroundings(released=released))) == {"b": ("a", LinkReason.SAME_ROLLOUT)}


def test_callers_suffer_with_what_they_call_to_the_end_of_the_chain() -> None:
    troubles = [
        trouble(app("web"), T.LATENCY, at=NOW + 20),
        trouble(app("api"), T.ERROR_RATE, at=NOW + 10),
        trouble(app("db"), T.OOM_KILL),
    ]
    found = assign(troubles, AROUND)
    assert whole(found) == {
        "web": ("db", LinkReason.SHARED_DEPENDENCY),
        "api": ("db", LinkReason.SHARED_DEPENDENCY),
    }
    crashing = [trouble(app("api"), T.ERROR_RATE, T.CRASH_LOOP), troubles[2]]
    assert assign(crashing, AROUND).whole == {}


def test_two_that_call_each_other_are_one_incident_and_not_none() -> None:
    a, b = app("a"), app("b")
    around = Surroundings(calls={key_of(a): frozenset({key_of(b)}), key_of(b): frozenset({key_of(a)})})
    found = assign([trouble(a, T.LATENCY), trouble(b, T.LATENCY)], around)
    assert whole(found) == {"b": ("a", LinkReason.SHARED_DEPENDENCY)}


def over(resource: ResourceRef, *signs: Sign | SignalType, at: float = NOW) -> Trouble:
    """Of which only the end was told."""
    made = Trouble(key_of(resource), resource)
    for sign in signs:
        made.add(sign if isinstance(sign, Sign) else Sign(sign), at, over=True)
    return made


def test_what_is_over_explains_nothing() -> None:
    changed = Surroundings(uses=AROUND.uses, changed={"ConfigMap/shop/env": NOW - 60})
    late = trouble(app("b"), T.CRASH_LOOP, at=NOW + 9)
    assert assign([over(app("a"), T.CRASH_LOOP), late], changed) == ({}, {})
    assert assign([over(NODE, T.NODE_NOT_READY), trouble(app("a"), pod("a-1"))], AROUND) == ({}, {})
    suffering = trouble(app("api"), T.ERROR_RATE, at=NOW + 10)
    assert assign([over(app("db"), T.OOM_KILL), suffering], AROUND) == ({}, {})


def test_the_end_of_what_was_explained_goes_where_its_beginning_went() -> None:
    node, ended = trouble(NODE, T.NODE_NOT_READY), over(app("a"), pod("a-1"))
    found = assign([node, ended], AROUND)
    assert found.target(ended.key, pod("a-1")) == Link(node.key, LinkReason.SAME_NODE)
    assert found.whole == {}
    changed = Surroundings(uses=AROUND.uses, changed={"ConfigMap/shop/env": NOW - 60})
    first, end = trouble(app("a"), T.CRASH_LOOP), over(app("b"), T.CRASH_LOOP, at=NOW + 9)
    link = assign([first, end], changed).target(end.key, Sign(T.CRASH_LOOP))
    assert link == Link(first.key, LinkReason.SAME_CONFIG)


def test_an_end_that_was_told_first_leaves_the_firing_what_it_is() -> None:
    signs = [(False, NOW), (True, NOW), (True, NOW + 5)]
    for order in permutations(signs):
        node = Trouble(key_of(NODE), NODE)
        for is_over, at in order:
            node.add(Sign(T.NODE_NOT_READY), at, over=is_over)
        assert (node.over, node.first([T.NODE_NOT_READY])) == (set(), NOW)
        assert node.signs == {Sign(T.NODE_NOT_READY): (NOW, NOW)}


def test_an_unrelated_cause_in_the_same_moment_stays_apart() -> None:
    found = assign([trouble(app(n), T.CRASH_LOOP) for n in "xyz"], AROUND)
    assert (found.of_sign, found.whole) == ({}, {})


# -- any order ---------------------------------------------------------------------------------------

names = st.sampled_from("abcdef")
resources = names.map(app) | st.just(NODE)
pods = st.sampled_from(["", "a-1", "b-1", "c-1"])
obstacles = st.sampled_from(["", "", "quota/q", "webhook/w"])
times = st.integers(-30, 30).map(lambda minutes: NOW + minutes * 60.0)
reports = st.tuples(resources, st.builds(Sign, st.sampled_from(list(SignalType)), pods, obstacles), times)
edges = st.dictionaries(
    names.map(lambda n: key_of(app(n))), st.frozensets(names.map(lambda n: key_of(app(n))), max_size=3)
)
surroundings = st.builds(
    Surroundings,
    node_of=st.dictionaries(st.sampled_from(["shop/a-1", "shop/b-1", "shop/c-1"]), st.just("n1")),
    nodes=st.dictionaries(names.map(lambda n: key_of(app(n))), st.just(frozenset({"n1"}))),
    uses=st.dictionaries(
        names.map(lambda n: key_of(app(n))), st.frozensets(st.sampled_from(["x", "y"]), max_size=2)
    ),
    changed=st.dictionaries(st.sampled_from(["x", "y"]), times),
    calls=edges,
    released=st.dictionaries(
        names.map(lambda n: key_of(app(n))), st.tuples(st.sampled_from(["r1", "r2"]), times)
    ),
)
Report = tuple[ResourceRef, Sign, float]


def incidents(arrivals: Sequence[Report], around: Surroundings) -> set[str]:
    """The incidents that are left when these have come one by one, as the correlator handles them."""
    known: dict[str, Trouble] = {}
    running: set[str] = set()
    for resource, sign, at in arrivals:
        key = key_of(resource)
        known.setdefault(key, Trouble(key, resource)).add(sign, at)
        found = assign(known.values(), around)
        link = found.target(key, sign)
        running.add(link.key if link else key)
        running -= found.whole.keys()
    return running


@given(st.data(), st.lists(reports, min_size=1, max_size=10), surroundings)
def test_any_order_and_repetition_of_reports_leaves_the_same_incidents(
    data: st.DataObject, given_reports: list[Report], around: Surroundings
) -> None:
    expected = incidents(given_reports, around)
    repeated = given_reports + data.draw(st.lists(st.sampled_from(given_reports), max_size=5))
    assert incidents(data.draw(st.permutations(repeated)), around) == expected


@given(st.lists(reports, min_size=1, max_size=10), surroundings)
def test_every_explanation_ends_at_an_incident_of_its_own(
    given_reports: list[Report], around: Surroundings
) -> None:
    known: dict[str, Trouble] = {}
    for resource, sign, at in given_reports:
        known.setdefault(key_of(resource), Trouble(key_of(resource), resource)).add(sign, at)
    found = assign(known.values(), around)
    for link in (*found.of_sign.values(), *found.whole.values()):
        assert link.key in known
        assert link.key not in found.whole
    assert len(found.whole) < len(known)
