"""The watcher against both API servers: nothing skipped and nothing repeated, whatever breaks in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import Conflict
from cortexops.domain.signal import SignalStatus
from cortexops.ports.cluster import PatchType
from ingest.watcher import KubernetesWatcher, Watchers
from tests.conformance.kubernetes_api.conftest import Target, config, eventually, pod
from tests.conformance.kubernetes_api.watching import Outage, Sink, complain, crashing, stamp, well, wired


@pytest.fixture
def outage(request: pytest.FixtureRequest, target: Target) -> Outage:
    plane = request.getfixturevalue("control_plane") if target.real else None
    return Outage(target.server, plane)


@asynccontextmanager
async def watching(cluster: Any, sink: Sink, **options: Any) -> AsyncIterator[KubernetesWatcher]:
    options = {"grace": timedelta(seconds=1), "tick": 0.1, **options}
    watcher = KubernetesWatcher(cluster, sink, **options)
    await watcher.start()
    try:
        yield watcher
    finally:
        await watcher.stop()


async def all_told(sink: Sink, names: list[str], *, seconds: float = 20.0) -> None:
    async def told() -> bool:
        return len(sink.signals) >= len(names)

    await eventually(told, seconds=seconds)
    await asyncio.sleep(0.2)
    assert sink.objects() == sorted(names)  # each of them, once
    assert len(set(sink.ids)) == len(sink.ids)


async def watched(watcher: KubernetesWatcher) -> None:
    async def well() -> bool:
        return watcher.healthy() is None

    await eventually(well)


# -- the server's side ---------------------------------------------------------------------------------


async def _bookmark(target: Target, cluster: KubernetesCluster, space: str, version: str) -> str:
    """The version of a bookmark. Servers promise none: old ones often send none in a watch this short."""
    for _ in range(3 if target.real else 1):
        stream = cluster.watch("ConfigMap", space, resource_version=version, timeout_seconds=3)
        async with aclosing(stream):
            async for event in stream:
                if event.type == "BOOKMARK":
                    return event.version
    assert target.real
    pytest.skip("the real server sent no bookmark in three short watches, and promises none")


async def test_bookmarks_advance_past_what_does_not_concern_the_watch(
    target: Target, cluster: KubernetesCluster, space: str
) -> None:
    version = (await cluster.list("ConfigMap", space)).resource_version
    elsewhere = await cluster.create("ConfigMap", "default", config(f"away-{space}"))
    async with asyncio.timeout(30):
        bookmark = await _bookmark(target, cluster, space, version)
        assert int(bookmark) >= int(elsewhere["metadata"]["resourceVersion"])
        later = await cluster.create("ConfigMap", space, config("later"))
        stream = cluster.watch("ConfigMap", space, resource_version=bookmark, timeout_seconds=5)
        async with aclosing(stream):
            event = await anext(stream)
        assert (event.type, event.version) == ("ADDED", later["metadata"]["resourceVersion"])


async def test_a_watch_may_be_narrowed_by_fields(cluster: KubernetesCluster, space: str) -> None:
    version = (await cluster.list("Event", space)).resource_version
    await complain(cluster, space, "calm", kind="Normal")
    await complain(cluster, space, "ill")
    stream = cluster.watch("Event", space, resource_version=version, timeout_seconds=2, fields="type=Warning")
    seen = [event.object["metadata"]["name"] async for event in stream if event.type != "BOOKMARK"]
    assert seen == ["ill.1"]


async def test_a_watch_from_a_forgotten_version_is_a_conflict(
    cluster: KubernetesCluster, space: str, outage: Outage
) -> None:
    version = (await cluster.list("Event", space)).resource_version
    await complain(cluster, space, "one")
    await complain(cluster, space, "two")
    await outage.compact(cluster)
    with pytest.raises(Conflict, match="too old"):
        async for _ in cluster.watch("Event", resource_version=version, timeout_seconds=5):
            pass


async def test_pages_come_one_by_one_and_show_one_moment(cluster: KubernetesCluster, space: str) -> None:
    for number in range(5):
        await complain(cluster, space, f"e{number}")
    names, versions, cuts = [], set(), []
    async for page in cluster.pages("Event", space, fields="type=Warning", limit=2):
        names += [item["metadata"]["name"] for item in page.items]
        versions.add(page.resource_version)
        cuts.append(page.cut)
        await complain(cluster, space, f"late{len(names)}")
    assert names == [f"e{number}.1" for number in range(5)]
    assert (len(versions), cuts) == (1, [True, True, False])


# -- no gap and no repetition --------------------------------------------------------------------------


async def test_it_goes_on_without_gap_or_repetition_when_the_wire_is_cut(
    target: Target, cluster: KubernetesCluster, space: str, tmp_path: Path
) -> None:
    sink, names = Sink(space), [f"p{number:02d}" for number in range(40)]
    async with wired(target.kubeconfig("admin"), tmp_path) as (wire, reader), watching(reader, sink) as w:
        await watched(w)
        for number, name in enumerate(names):
            await complain(cluster, space, name)
            if number % 8 == 5:
                wire.cut()
        await all_told(sink, names)
        assert wire.connections > 3


async def test_it_goes_on_without_gap_or_repetition_when_its_version_is_too_old(
    target: Target, cluster: KubernetesCluster, space: str, tmp_path: Path, outage: Outage
) -> None:
    sink = Sink(space)
    await cluster.create("Pod", space, _bound("loop"))
    await _set(cluster, space, "loop", crashing(datetime.now(UTC) - timedelta(seconds=5)))
    await complain(cluster, space, "before")
    async with wired(target.kubeconfig("admin"), tmp_path) as (wire, reader), watching(reader, sink) as w:
        await watched(w)
        await sink.until("FailedMount")
        firing = await sink.until("CrashLoopBackOff")
        wire.shut()
        await complain(cluster, space, "meanwhile")
        await cluster.delete("Pod", space, "loop", grace_seconds=0)
        await complain(cluster, space, "and-then")
        await outage.compact(cluster)
        wire.reopen()
        resolved = await sink.until("CrashLoopBackOff", SignalStatus.RESOLVED)
        assert (resolved.fingerprint, resolved.started_at) == (firing.fingerprint, firing.started_at)
        await complain(cluster, space, "after")

        async def told() -> bool:
            return len(sink.named("FailedMount")) >= 4

        await eventually(told)
        await asyncio.sleep(0.2)
        mounts = sorted(one.resource.name for one in sink.named("FailedMount"))
        assert mounts == ["after", "and-then", "before", "meanwhile"]
        assert len(set(sink.ids)) == len(sink.ids)


async def test_it_goes_on_without_gap_or_repetition_when_the_server_restarts(
    target: Target, cluster: KubernetesCluster, space: str, tmp_path: Path, outage: Outage
) -> None:
    sink = Sink(space)
    async with wired(target.kubeconfig("admin"), tmp_path) as (_, reader), watching(reader, sink) as w:
        await watched(w)
        for name in ("a", "b"):
            await complain(cluster, space, name)
        await outage.restart()
        for name in ("c", "d"):
            await complain(cluster, space, name)
        await all_told(sink, ["a", "b", "c", "d"], seconds=40)
        await watched(w)


async def test_a_server_that_falls_silent_is_noticed_and_the_watch_goes_on(
    target: Target, cluster: KubernetesCluster, space: str, tmp_path: Path
) -> None:
    sink = Sink(space)
    config = target.kubeconfig("admin")
    async with (
        wired(config, tmp_path, request_timeout=2.0) as (wire, reader),
        watching(reader, sink, watch_seconds=1) as w,
    ):
        await watched(w)
        wire.freeze()
        await complain(cluster, space, "unheard")

        async def noticed() -> bool:
            return "in time" in str(w.healthy())

        await eventually(noticed)
        assert sink.signals == []
        wire.thaw()
        await all_told(sink, ["unheard"])
        await watched(w)


async def test_a_cluster_that_hangs_delays_no_other(
    target: Target, cluster: KubernetesCluster, space: str, tmp_path: Path
) -> None:
    sink, config = Sink(space), target.kubeconfig("admin")
    async with (
        wired(config, tmp_path, name="dead", request_timeout=1.0) as (wire, dead),
        wired(config, tmp_path, name="alive") as (_, alive),
    ):
        wire.freeze()
        watchers = Watchers({"dead": dead, "alive": alive}, sink)
        await watchers.start()
        try:

            async def told_apart() -> bool:
                return watchers.health()["alive"] is None and "in time" in str(watchers.health()["dead"])

            await eventually(told_apart)
            await complain(cluster, space, "one")
            await all_told(sink, ["one"], seconds=3)
            assert sink.signals[0].cluster == "alive"
            assert str(watchers.healthy()).startswith("dead: ")
            wire.thaw()
            await all_told(sink, ["one", "one"])
        finally:
            await watchers.stop()


# -- what is over --------------------------------------------------------------------------------------


def _bound(name: str) -> dict[str, Any]:
    """A pod that no scheduler touches."""
    body = pod(name)
    body["spec"]["nodeName"] = "nowhere"
    return body


async def _set(cluster: KubernetesCluster, space: str, name: str, status: dict[str, Any]) -> None:
    await cluster.patch(
        "Pod", space, name, {"status": status}, patch_type=PatchType.MERGE, subresource="status"
    )


async def test_a_pod_that_runs_again_ends_its_complaint_under_one_id_for_all_watchers(
    cluster: KubernetesCluster, space: str
) -> None:
    ended = (datetime.now(UTC) - timedelta(seconds=60)).replace(microsecond=0)
    since = ended + timedelta(seconds=10)
    await cluster.create("Pod", space, _bound("api"))
    await _set(cluster, space, "api", crashing(ended))
    one, two, late = Sink(space), Sink(space), Sink(space)
    async with watching(cluster, one), watching(cluster, two):
        firing = await one.until("CrashLoopBackOff")
        await two.until("CrashLoopBackOff")
        await _set(cluster, space, "api", well(since, ended))
        resolved = await one.until("CrashLoopBackOff", SignalStatus.RESOLVED)
        again = await two.until("CrashLoopBackOff", SignalStatus.RESOLVED)
    assert resolved.fingerprint == firing.fingerprint
    assert (resolved.started_at, resolved.ended_at) == (firing.started_at, since)
    assert resolved.id == again.id != firing.id
    async with watching(cluster, late):  # a process that never saw it fire: the pod still tells of it
        after = await late.until("CrashLoopBackOff", SignalStatus.RESOLVED)
        assert after.id == resolved.id
        assert late.named("CrashLoopBackOff") == []


async def test_a_node_that_is_ready_again_ends_its_complaint(cluster: KubernetesCluster, space: str) -> None:
    name, sink = f"n-{space}", Sink(space)
    began = (datetime.now(UTC) - timedelta(minutes=5)).replace(microsecond=0)

    async def ready(status: str, since: datetime) -> None:
        condition = {
            "type": "Ready",
            "status": status,
            "lastTransitionTime": stamp(since),
            "lastHeartbeatTime": stamp(datetime.now(UTC)),
            "reason": "KubeletReady",
            "message": "",
        }
        body = {"status": {"conditions": [condition]}}
        await cluster.patch("Node", "", name, body, patch_type=PatchType.MERGE, subresource="status")

    await cluster.create("Node", "", {"metadata": {"name": name}})
    try:
        await ready("False", began)
        async with watching(cluster, sink):
            firing = await sink.until("NodeNotReady")
            await ready("True", began + timedelta(minutes=2))
            resolved = await sink.until("NodeNotReady", SignalStatus.RESOLVED)
        assert (resolved.fingerprint, resolved.started_at) == (firing.fingerprint, began)
        assert resolved.ended_at == began + timedelta(minutes=2)
    finally:
        await cluster.delete("Node", "", name)
