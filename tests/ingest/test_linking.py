"""One cause, one incident: linked signals, absorbed incidents, whatever comes first."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from cortexops.domain.causes import Surroundings, Trouble
from cortexops.domain.correlation import EndedIncident, Fate
from cortexops.domain.incident import IncidentState
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import FateReason, Severity, Signal, SignalFate, SignalStatus
from ingest import registry
from ingest.accept import accept
from ingest.sources.kubernetes import object_signals
from ingest.surroundings import SurroundingsReader
from sandbox.engines.nats import NatsEngine
from tests.ingest.support import START, eventually, signal
from tests.ingest.test_correlator import rig

NODE = "incident:test::Node:n1"


def node_down(**more: object) -> Signal:
    return signal("KubeNodeNotReady", kind="Node", object_name="n1", namespace="", **more)  # type: ignore[arg-type]


def unready(number: int, name: str = "KubePodNotReady", **more: object) -> Signal:
    return signal(
        name,
        kind="Pod",
        object_name=f"app{number}-7d9f8b6c5d-x2z4b",
        namespace=f"ns{number % 12}",
        labels={"node": "n1"},
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("seed", range(3))
async def test_a_failed_node_is_one_incident_with_its_forty_workloads_linked(
    nats_server: NatsEngine, seed: int
) -> None:
    cascade = [node_down(severity=Severity.CRITICAL), *(unready(n) for n in range(40))]
    random.Random(seed).shuffle(cascade)
    async with rig(nats_server, correlator={"window_seconds": 0.5}) as world, world.correlator():
        await accept(world.bus, cascade)
        await eventually(lambda: len(world.store.rows) == 41)
        assert world.starter.running == {NODE}
        assert len(world.starter.linked[NODE]) == 40
        fates = world.fates()
        assert fates.count((SignalFate.MERGED, FateReason.SAME_NODE)) == 40
        assert fates.count((SignalFate.STARTED, FateReason.NEW_INCIDENT)) == 1


async def test_a_node_that_is_reported_last_absorbs_what_was_opened_for_its_pods(
    nats_server: NatsEngine,
) -> None:
    async with rig(nats_server) as world, world.correlator():
        await accept(world.bus, [unready(n) for n in range(5)])
        await eventually(lambda: len(world.starter.running) == 5)
        await accept(world.bus, [unready(9, "KubePodCrashLooping")])  # of its own making
        await eventually(lambda: len(world.starter.running) == 6)
        await accept(world.bus, [node_down()])
        own = "incident:test:ns9:Deployment:app9"
        await eventually(lambda: world.starter.running == {NODE, own})
        assert len(world.starter.absorbed) == 5
        assert {a.into_key for a in world.starter.absorbed.values()} == {NODE}
        assert len(world.starter.linked[NODE]) == 5
        await accept(world.bus, [unready(3, started_at=START + timedelta(minutes=1))])  # still goes there
        await eventually(lambda: len(world.store.rows) == 8)
        assert world.store.rows[-1][1:] == (Fate(SignalFate.MERGED, FateReason.SAME_NODE), NODE)
        assert world.starter.running == {NODE, own}


async def test_nothing_is_absorbed_by_an_incident_that_has_ended(nats_server: NatsEngine) -> None:
    own = "incident:test:ns1:Deployment:app1"
    async with rig(nats_server) as world, world.correlator():
        await accept(world.bus, [node_down()])
        await eventually(lambda: world.starter.running == {NODE})
        unplaced = unready(1).model_copy(update={"labels": {}, "id": ""}).sealed()
        await accept(world.bus, [unplaced])
        await eventually(lambda: world.starter.running == {NODE, own})
        world.starter.running.discard(NODE)  # a person has it
        world.store.ended[NODE] = EndedIncident("INC-1", IncidentState.ESCALATED, datetime.now(UTC))
        await accept(world.bus, [unready(1, started_at=START + timedelta(minutes=1))])
        await eventually(lambda: len(world.store.rows) == 3)
        assert world.starter.running == {own}
        assert world.starter.absorbed == {}


async def test_unrelated_causes_in_one_window_stay_apart(nats_server: NatsEngine) -> None:
    async with rig(nats_server, correlator={"window_seconds": 0.3}) as world, world.correlator():
        await accept(world.bus, [signal(f"KubePodCrashLooping{n}", object_name=f"app{n}") for n in range(6)])
        await eventually(lambda: len(world.store.rows) == 6)
        assert len(world.starter.running) == 6
        assert world.starter.absorbed == {}


async def test_a_new_owner_knows_what_the_last_one_linked(nats_server: NatsEngine) -> None:
    async with rig(nats_server) as world:
        async with world.correlator():
            await accept(world.bus, [node_down()])
            await eventually(lambda: world.starter.running == {NODE})
        world.store.open.add(NODE)
        down = node_down()
        world.store.open_bodies["test"] = {NODE: (down.resource, [down.model_dump_json()])}
        async with world.correlator():
            await accept(world.bus, [unready(1)])
            await eventually(lambda: len(world.store.rows) == 2)
        assert world.starter.running == {NODE}
        assert world.fates()[1] == (SignalFate.MERGED, FateReason.SAME_NODE)


async def test_the_end_of_a_linked_alert_is_told_to_the_causes_incident(nats_server: NatsEngine) -> None:
    async with rig(nats_server) as world, world.correlator():
        await accept(world.bus, [node_down(), unready(1)])
        await eventually(lambda: len(world.store.rows) == 2)
        ended = unready(1, status=SignalStatus.RESOLVED)
        await accept(world.bus, [ended])
        await eventually(lambda: len(world.store.rows) == 3)
        assert world.starter.told[-1] == (NODE, [ended])


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is open is read from the database at once, and nothing else counts."""
    monkeypatch.setattr(registry, "_REFRESH", 0.0)
    monkeypatch.setattr(registry, "_UNSEEN", 0.0)


@pytest.mark.usefixtures("forgetful")
async def test_the_end_of_a_linked_alert_finds_the_causes_incident_long_after(
    nats_server: NatsEngine,
) -> None:
    down = node_down()
    async with rig(nats_server) as world, world.correlator():
        await accept(world.bus, [down, unready(1)])
        await eventually(lambda: len(world.store.rows) == 2)
        world.store.open_bodies = {"test": {NODE: (down.resource, [down.model_dump_json()])}}
        world.store.open.add(NODE)
        await accept(world.bus, [signal("A", object_name="other")])
        await eventually(lambda: len(world.store.rows) == 3)
        ended = unready(1, status=SignalStatus.RESOLVED)
        await accept(world.bus, [ended])
        await eventually(lambda: len(world.store.rows) == 4)
        assert world.starter.told[-1] == (NODE, [ended])


async def test_a_node_of_which_only_the_end_is_told_takes_in_no_pod(nats_server: NatsEngine) -> None:
    async with rig(nats_server, correlator={"window_seconds": 0.3}) as world, world.correlator():
        await accept(world.bus, [node_down(status=SignalStatus.RESOLVED), unready(1)])
        await eventually(lambda: len(world.store.rows) == 2)
        assert world.starter.running == {"incident:test:ns1:Deployment:app1"}


@pytest.mark.usefixtures("forgetful")
async def test_a_part_that_comes_back_with_its_cause_is_absorbed_again(nats_server: NatsEngine) -> None:
    own = "incident:test:ns1:Deployment:app1"
    async with rig(nats_server) as world, world.correlator():
        for week in range(2):
            at = START + timedelta(weeks=week)
            waiting = unready(1, started_at=at)
            await accept(world.bus, [waiting])
            await eventually(lambda: len(world.store.rows) == 1 + 2 * week)  # noqa: B023
            assert world.starter.running == {own}
            world.store.open_bodies = {"test": {own: (_workload(own), [waiting.model_dump_json()])}}
            await accept(world.bus, [node_down(started_at=at)])
            await eventually(lambda: len(world.store.rows) == 2 + 2 * week)  # noqa: B023
            assert world.starter.running == {NODE}
            world.store.open_bodies = {}  # both are over
            world.starter.running.clear()


def _workload(key: str) -> ResourceRef:
    _, cluster, namespace, kind, name = key.split(":")
    return ResourceRef(cluster=cluster, namespace=namespace, kind=kind, name=name)


class _PodsOn:
    """A cluster that answers only which pods are on a node."""

    def __init__(self, node: str, *pods: str) -> None:
        self._found = Surroundings(node_of=dict.fromkeys(pods, node))

    async def around(self, cluster: str, troubles: Sequence[Trouble]) -> Surroundings:
        return self._found


async def test_what_the_cluster_says_of_the_pods_of_a_failed_node_is_the_nodes_incident(
    nats_server: NatsEngine,
) -> None:
    since = START.isoformat()
    ready = {"type": "Ready", "status": "Unknown", "lastTransitionTime": since}
    told = [{"kind": "Node", "metadata": {"name": "n1"}, "status": {"conditions": [ready]}}]
    pods = [f"ns{n}/app{n}-7d9f8b6c5d-x2z4b" for n in range(3)]
    for namespace, name in (pod.split("/") for pod in pods):
        about = {"kind": "Pod", "namespace": namespace, "name": name}
        told.append({"kind": "Event", "type": "Warning", "reason": "NodeNotReady", "involvedObject": about,
                     "message": "Node is not ready", "firstTimestamp": since})  # fmt: skip
    signals = [one for item in told for one in object_signals(item, "test", START)]
    around = cast(SurroundingsReader, _PodsOn("n1", *pods))
    async with rig(nats_server) as world, world.correlator(surroundings=around):
        await accept(world.bus, signals)
        await eventually(lambda: len(world.store.rows) == 4)
        await eventually(lambda: world.starter.running == {NODE})


async def test_an_alert_that_repeats_after_nothing_was_done_opens_an_incident_again(
    nats_server: NatsEngine,
) -> None:
    key = "incident:test:shop:Deployment:api"
    async with rig(
        nats_server, correlator={"cooldown_minutes": 0.005}, nats={"duplicate_window_seconds": 0.2}
    ) as world:
        async with world.correlator():
            await accept(world.bus, [signal("A")])
            await eventually(lambda: world.starter.running == {key})
        world.starter.running.clear()
        world.store.ended[key] = EndedIncident("INC-1", IncidentState.ESCALATED, datetime.now(UTC))
        await asyncio.sleep(0.5)
        async with world.correlator():
            await accept(world.bus, [signal("A")])  # the same firing, repeated by its sender
            await eventually(lambda: world.starter.running == {key})
        assert [fate for fate, _ in world.fates()] == [SignalFate.STARTED, SignalFate.STARTED]


def _cascade() -> list[Signal]:
    return [
        node_down(),
        *(unready(n) for n in range(6)),
        unready(2, "KubePodCrashLooping"),
        signal("KubePodCrashLooping", object_name="other"),
        signal("HighLatency", object_name="other"),
    ]


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_repetition_and_restart_leaves_the_same_incidents(
    nats_server: NatsEngine, seed: int
) -> None:
    random_ = random.Random(seed)
    arrivals = _cascade() + random_.sample(_cascade(), 4)
    random_.shuffle(arrivals)
    parts = _split(arrivals, random_)
    async with rig(nats_server, correlator={"window_seconds": 0.02}) as world:
        new = 0
        for part in parts:
            async with world.correlator():
                for one in part:
                    new += (await accept(world.bus, [one])).new
                    if random_.random() < 0.5:
                        await asyncio.sleep(0.03)
                await eventually(lambda: world.store.counts.total() == new)  # noqa: B023
            _remember(world)
        assert world.starter.running == {
            NODE,
            "incident:test:ns2:Deployment:app2",
            "incident:test:shop:Deployment:other",
        }


def _split(arrivals: Sequence[Signal], random_: random.Random) -> list[list[Signal]]:
    cut = random_.randrange(1, len(arrivals))
    return [list(arrivals[:cut]), list(arrivals[cut:])]


def _remember(world: object) -> None:
    """What a database would know of the open incidents when the next correlator starts."""
    running = world.starter.running  # type: ignore[attr-defined]
    store = world.store  # type: ignore[attr-defined]
    store.open = set(running)
    bodies: dict[str, tuple[object, list[str]]] = {}
    for told_key, signals in world.starter.told:  # type: ignore[attr-defined]
        if told_key in running:
            kind, name = told_key.split(":")[-2:]
            first = signals[0].resource
            resource = first.model_copy(
                update={"kind": kind, "name": name, "namespace": told_key.split(":")[2]}
            )
            bodies.setdefault(told_key, (resource, []))[1].extend(s.model_dump_json() for s in signals)
    store.open_bodies = {"test": bodies}
