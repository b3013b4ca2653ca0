"""What a watcher tells of objects as time passes, and that it does not depend on how often it looks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.errors import InvalidInput
from cortexops.domain.firing import all_resolved
from cortexops.domain.signal import Severity, Signal, SignalStatus
from ingest.watch_state import WatchState

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
JSON = dict[str, Any]
FIRING, RESOLVED = SignalStatus.FIRING, SignalStatus.RESOLVED


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def stamp(seconds: float) -> str:
    return at(seconds).isoformat().replace("+00:00", "Z")


def pod(state: JSON, *, ready: float | None = None, last: JSON | None = None, restarts: int = 0) -> JSON:
    """`ready`: since when, in seconds after the start; None when it is not."""
    container = {"name": "app", "ready": ready is not None, "restartCount": restarts, "state": state}
    if last:
        container["lastState"] = {"terminated": last}
    conditions = [] if ready is None else [condition("Ready", "True", ready)]
    return whole({"containerStatuses": [container], "conditions": conditions})


def whole(status: JSON, **metadata: Any) -> JSON:
    about = {"name": "api-0", "namespace": "shop", "uid": "u1", "creationTimestamp": stamp(0), **metadata}
    return {"kind": "Pod", "metadata": about, "status": {"phase": "Running", **status}}


def condition(kind: str, status: str, since: float, **more: str) -> JSON:
    return {"type": kind, "status": status, "lastTransitionTime": stamp(since), **more}


def ended(began: float, finished: float, reason: str = "Error") -> JSON:
    return {"exitCode": 1, "reason": reason, "startedAt": stamp(began), "finishedAt": stamp(finished)}


def looping(began: float, finished: float, restarts: int = 2) -> JSON:
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    return pod(waiting, last=ended(began, finished), restarts=restarts)


def running(since: float, began: float, finished: float, restarts: int = 2) -> JSON:
    state = {"running": {"startedAt": stamp(since)}}
    return pod(state, ready=since, last=ended(began, finished), restarts=restarts)


def told(signals: Sequence[Signal]) -> list[tuple[str, SignalStatus]]:
    return [(one.name, one.status) for one in signals]


def test_a_crash_loop_is_over_once_the_container_has_outlived_its_last_life_twice() -> None:
    state = WatchState("main")
    (firing,) = state.see(looping(0, 60), at(61))
    assert state.see(running(80, 0, 60), at(81)) == []
    assert state.due(at(80 + 119)) == []
    (resolved,) = state.due(at(80 + 120))
    assert (resolved.status, resolved.fingerprint) == (RESOLVED, firing.fingerprint)
    assert (resolved.started_at, resolved.ended_at) == (at(60), at(80))
    assert (state.due(at(9999)), len(state)) == ([], 0)


def test_a_loop_that_runs_for_a_minute_each_time_never_counts_as_mended() -> None:
    state = WatchState("main")
    statuses = set()
    for cycle in range(10):
        began = cycle * 100.0
        for second in range(0, 60, 5):
            seen = running(began, began - 100, began - 40) if cycle else pod({"running": {}})
            statuses |= {
                one.status for one in [*state.see(seen, at(began + second)), *state.due(at(began + second))]
            }
        statuses |= {one.status for one in state.see(looping(began, began + 60), at(began + 61))}
        statuses |= {one.status for one in state.due(at(began + 99))}
    assert statuses == {FIRING}


def test_an_unready_pod_is_told_of_after_the_grace_and_its_end_after_another() -> None:
    state = WatchState("main")
    assert state.see(whole({"conditions": [condition("Ready", "False", 0)]}), at(1)) == []
    assert state.due(at(29)) == []
    (firing,) = state.due(at(30))
    assert (firing.name, firing.started_at, firing.received_at) == ("PodNotReady", at(0), at(30))
    assert state.see(whole({"conditions": [condition("Ready", "True", 50)]}), at(51)) == []
    (resolved,) = state.due(at(80))
    assert (resolved.fingerprint, resolved.started_at, resolved.ended_at) == (
        firing.fingerprint,
        at(0),
        at(50),
    )


def test_what_is_said_of_the_pods_of_a_failed_node_ends_with_their_own_complaint() -> None:
    state = WatchState("main")
    about = {"kind": "Pod", "namespace": "shop", "name": "api-0"}
    said = {"kind": "Event", "type": "Warning", "reason": "NodeNotReady", "involvedObject": about}
    (event,) = state.see({**said, "firstTimestamp": stamp(2)}, at(2))
    assert event.severity is Severity.MEDIUM
    state.see(whole({"conditions": [condition("Ready", "False", 0)]}), at(2))
    (firing,) = state.due(at(30))
    assert (firing.name, firing.type, firing.fingerprint) == (event.name, event.type, event.fingerprint)
    state.see(whole({"conditions": [condition("Ready", "True", 50)]}), at(51))
    assert all_resolved([event, firing, *state.due(at(80))])


def test_a_pod_that_is_ready_within_the_grace_is_never_mentioned() -> None:
    state = WatchState("main")
    state.see(whole({"conditions": [condition("Ready", "False", 0)]}), at(1))
    state.see(whole({"conditions": [condition("Ready", "True", 20)]}), at(21))
    assert (state.due(at(1000)), len(state)) == ([], 0)


def test_a_deleted_pod_ends_its_complaint_when_its_replacement_had_time_to_complain() -> None:
    state = WatchState("main")
    (firing,) = state.see(looping(0, 60), at(61))
    going = looping(0, 60)
    # the time that it carries is when its grace period is over
    going["metadata"] |= {"deletionTimestamp": stamp(100), "deletionGracePeriodSeconds": 30}
    assert state.see(going, at(71)) == []
    assert state.gone(going, at(80)) == []
    assert state.due(at(99)) == []
    (resolved,) = state.due(at(100))
    assert (resolved.status, resolved.fingerprint) == (RESOLVED, firing.fingerprint)
    assert (resolved.started_at, resolved.ended_at) == (at(60), at(70))
    assert len(state) == 0


def test_a_pod_missing_from_a_list_ends_its_complaint() -> None:
    state = WatchState("main")
    state.see(looping(0, 60), at(61))
    assert state.uids("Pod") == {"u1"}
    assert state.gone({"metadata": {"uid": "u1"}}, at(70)) == []
    assert state.uids("Pod") == set()
    assert told(state.due(at(100))) == [("CrashLoopBackOff", RESOLVED)]


def test_an_event_never_ends_but_a_series_that_it_shares_with_a_pod_does() -> None:
    state = WatchState("main")
    about = {"kind": "Pod", "namespace": "shop", "name": "api-0", "fieldPath": "spec.containers{app}"}
    event = {"kind": "Event", "type": "Warning", "involvedObject": about}
    (first,) = state.see({**event, "reason": "BackOff", "firstTimestamp": stamp(65)}, at(65))
    assert len(state.see({**event, "reason": "FailedMount", "firstTimestamp": stamp(65)}, at(65))) == 1
    (firing,) = state.see(looping(0, 60), at(66))
    assert first.fingerprint == firing.fingerprint
    state.see(running(80, 0, 60), at(81))
    resolved = state.due(at(10_000))
    assert [one.started_at for one in resolved] == [firing.started_at, first.started_at]
    assert {one.fingerprint for one in resolved} == {firing.fingerprint}


def oom(restarts: int = 1) -> JSON:
    state = {"running": {"startedAt": stamp(62)}}
    return pod(state, ready=62, last=ended(0, 60, "OOMKilled"), restarts=restarts)


def test_a_memory_kill_is_told_then_over_and_not_told_again_while_the_pod_shows_it() -> None:
    state = WatchState("main")
    assert told(state.see(oom(), at(63))) == [("OOMKilled", FIRING)]
    assert told(state.due(at(62 + 120))) == [("OOMKilled", RESOLVED)]
    again = state.see(oom(), at(400))
    assert {one.status for one in again} <= {FIRING}  # the sender knows that id
    assert (state.due(at(500)), len(state)) == ([], 1)
    assert state.see(oom(), at(60 + 3601)) == []
    assert len(state) == 0


def test_what_began_and_ended_long_before_a_process_began_is_called_over_but_not_told() -> None:
    first = WatchState("main")
    assert told(first.see(oom(restarts=5), at(1200), first=True)) == [
        ("CrashLoopBackOff", RESOLVED),
        ("OOMKilled", RESOLVED),
    ]
    assert told(WatchState("main").see(oom(), at(300), first=True)) == [
        ("OOMKilled", FIRING),
        ("OOMKilled", RESOLVED),
    ]
    assert WatchState("main").see(running(80, 0, 60, restarts=1), at(1200), first=True) == []


def test_a_pod_that_was_well_all_along_leaves_nothing_behind() -> None:
    state = WatchState("main")
    for number in range(100):
        item = pod({"running": {"startedAt": stamp(0)}}, ready=0)
        item["metadata"]["uid"] = str(number)
        assert state.see(item, at(number), first=True) == []
    assert len(state) == 0


def test_a_node_is_over_when_ready_for_the_grace() -> None:
    def node(status: str, since: float) -> JSON:
        conditions = [condition("Ready", status, since)]
        return {"kind": "Node", "metadata": {"name": "n1", "uid": "n"}, "status": {"conditions": conditions}}

    state = WatchState("main")
    assert told(state.see(node("Unknown", 0), at(1))) == [("NodeNotReady", FIRING)]
    assert state.see(node("True", 10), at(11)) == []
    assert state.see(node("False", 20), at(21))[0].started_at == at(20)
    state.see(node("True", 30), at(31))
    (resolved,) = state.due(at(60))
    assert (resolved.started_at, resolved.ended_at) == (at(20), at(30))


def test_a_malformed_object_is_refused_and_changes_nothing() -> None:
    state = WatchState("main")
    state.see(looping(0, 60), at(61))
    broken = running(80, 0, 60)
    broken["status"]["conditions"] = ["x"]
    with pytest.raises(InvalidInput):
        state.see(broken, at(90))
    assert state.due(at(10_000)) == []
    assert len(state) == 1


def test_only_so_many_troubled_objects_are_remembered() -> None:
    state = WatchState("main", most=10)
    for number in range(50):
        item = looping(0, 60)
        item["metadata"] |= {"uid": str(number), "name": f"api-{number}"}
        state.see(item, at(61))
    assert state.uids("Pod") == {str(number) for number in range(40, 50)}


# -- however it is looked at -----------------------------------------------------------------------------


class Life:
    """A pod's history, one state after another, with the times that a kubelet would write."""

    def __init__(self) -> None:
        self.now = 0.0
        self.restarts = 0
        self.began = 0.0
        self.last: JSON | None = None
        self.states: list[tuple[float, JSON]] = []
        self._run()

    def _run(self) -> None:
        self.began = self.now
        state = {"running": {"startedAt": stamp(self.now)}}
        self.states.append((self.now, pod(state, ready=self.now, last=self.last, restarts=self.restarts)))

    def unready(self, seconds: int) -> None:
        since, running = self.now, {"running": {"startedAt": stamp(self.began)}}
        item = pod(running, last=self.last, restarts=self.restarts)
        item["status"]["conditions"] = [condition("Ready", "False", since)]
        self.states.append((self.now, item))
        self.now += seconds
        back = pod(running, ready=self.now, last=self.last, restarts=self.restarts)
        self.states.append((self.now, back))

    def crash(self, seconds: int, reason: str) -> None:
        self.last = ended(self.began, self.now, reason)
        self.restarts += 1
        waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
        self.states.append((self.now, pod(waiting, last=self.last, restarts=self.restarts)))
        self.now += seconds
        self._run()


steps = st.lists(
    st.tuples(
        st.sampled_from(["wait", "unready", "crash", "oom"]),
        st.integers(min_value=1, max_value=200),
    ),
    max_size=12,
)


def life(moves: list[tuple[str, int]]) -> Life:
    made = Life()
    for move, seconds in moves:
        made.now += 1  # no two changes at one moment
        if move == "wait":
            made.now += seconds
        elif move == "unready":
            made.unready(seconds)
        else:
            made.crash(seconds, "OOMKilled" if move == "oom" else "Error")
    return made


def replay(states: list[tuple[float, JSON]], until: float, repeats: list[int], cuts: set[int]) -> set[str]:
    """Ids of all that is told. State i is seen 1 + repeats[i] times; before each state in `cuts` the watch is
    too old and the present state comes in a list."""
    state, ids, clock = WatchState("main"), set(), 0.0
    for index, (moment, item) in enumerate(states):
        while clock < moment:  # the ticks between two states
            ids |= {one.id for one in state.due(at(clock))}
            clock += 1
        if index in cuts and index:
            ids |= {one.id for one in state.see(states[index - 1][1], at(moment))}
        for _ in range(1 + repeats[index % len(repeats)]):
            ids |= {one.id for one in state.see(item, at(moment))}
    while clock <= until:
        ids |= {one.id for one in state.due(at(clock))}
        clock += 1
    return ids


@given(steps, st.lists(st.integers(0, 3), min_size=1, max_size=5), st.sets(st.integers(0, 24)))
def test_repeats_and_new_lists_tell_the_same_ids(
    moves: list[tuple[str, int]], repeats: list[int], cuts: set[int]
) -> None:
    made = life(moves)
    until = made.now + 700
    once = replay(made.states, until, [0], set())
    assert replay(made.states, until, repeats, cuts) == once


@given(steps, st.integers(0, 24))
def test_a_restart_repeats_ids_and_makes_up_no_firing(moves: list[tuple[str, int]], place: int) -> None:
    made = life(moves)
    until = made.now + 700
    place = min(place, len(made.states) - 1)
    whole_story = _story(made.states, until)
    moment = made.states[place][0]
    before = _story(made.states[: place + 1], moment)
    after = _story(made.states[place:], until, first=True, since=moment)
    firing = {one.id for one in whole_story if one.status is FIRING}
    assert {one.id for one in [*before, *after] if one.status is FIRING} == firing
    starts = {(one.fingerprint, one.started_at) for one in whole_story if one.status is FIRING}
    # Never wrong: of what was told as over after the restart, all had fired, or left its trace as a crash.
    for one in after:
        if one.status is RESOLVED and one.name != "CrashLoopBackOff":
            assert (one.fingerprint, one.started_at) in starts


def _story(
    states: list[tuple[float, JSON]], until: float, *, first: bool = False, since: float = 0.0
) -> list[Signal]:
    state, found, clock = WatchState("main"), [], since
    for moment, item in states:
        while clock < moment:
            found += state.due(at(clock))
            clock += 1
        found += state.see(item, at(moment), first=first)
        first = False
    while clock <= until:
        found += state.due(at(clock))
        clock += 1
    return found


@given(steps)
def test_a_pod_that_stays_well_leaves_no_series_firing(moves: list[tuple[str, int]]) -> None:
    made = life(moves)
    newest: dict[str, Signal] = {}
    for one in _story(made.states, made.now + 700):
        known = newest.get(one.fingerprint)
        if known is None or (one.started_at, one.status is RESOLVED) >= (
            known.started_at,
            known.status is RESOLVED,
        ):
            newest[one.fingerprint] = one
    assert {one.status for one in newest.values()} <= {RESOLVED}
