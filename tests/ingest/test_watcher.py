"""The watcher against the simulated API server: one signal for one trouble, whatever breaks in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import Conflict, TemporaryError
from cortexops.domain.signal import FateReason, Signal
from ingest.watcher import KubernetesWatcher
from sandbox.cluster.server import SimulatedApiServer
from tests.ingest.support import eventually


class Sink:
    """A bus that remembers, and may be away."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.away = False

    async def publish(self, signals: Sequence[Signal]) -> list[bool]:
        if self.away:
            raise TemporaryError("away")
        self.signals.extend(signals)
        return [False] * len(signals)

    async def park(self, raw: bytes, reason: FateReason, source: str, detail: str = "") -> None: ...

    async def health(self) -> str | None:
        return None

    async def close(self) -> None: ...

    @property
    def names(self) -> list[str]:
        return [one.name for one in self.signals]


class Api:
    def __init__(self, server: SimulatedApiServer, cluster: KubernetesCluster) -> None:
        self.server, self.cluster, self.sink = server, cluster, Sink()

    @asynccontextmanager
    async def watcher(self, **options: Any) -> AsyncIterator[KubernetesWatcher]:
        watcher = KubernetesWatcher(self.cluster, self.sink, **options)
        await watcher.start()
        try:
            yield watcher
        finally:
            await watcher.stop()

    async def event(self, name: str, reason: str = "BackOff", kind: str = "Warning") -> None:
        about = {"kind": "Pod", "namespace": "default", "name": name}
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        body = {
            "metadata": {"name": f"{name}.{reason.lower()}", "namespace": "default"},
            "involvedObject": about,
            "reason": reason,
            "type": kind,
            "message": "Back-off restarting failed container",
            "firstTimestamp": at,
            "lastTimestamp": at,
            "count": 1,
        }
        await self.cluster.create("Event", "default", body)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with SimulatedApiServer() as server:
        config = server.kubeconfig(tmp_path / "admin.yaml")
        async with await KubernetesCluster.connect("test", config) as cluster:
            yield Api(server, cluster)


async def test_what_is_there_at_the_start_and_what_comes_later_are_seen(api: Api) -> None:
    await api.event("early")
    await api.event("calm", kind="Normal")
    async with api.watcher() as watcher:
        await eventually(lambda: len(api.sink.signals) == 1)
        await api.event("late")
        await eventually(lambda: len(api.sink.signals) == 2)
        assert [one.resource.name for one in api.sink.signals] == ["early", "late"]
        assert watcher.healthy() is None


async def test_a_second_watcher_tells_the_same_ids(api: Api) -> None:
    await api.event("early")
    for count in (1, 2):
        async with api.watcher():
            await eventually(lambda count=count: len(api.sink.signals) == count)  # type: ignore[misc]
    assert len({one.id for one in api.sink.signals}) == 1


async def test_nothing_is_skipped_while_the_bus_is_away(api: Api) -> None:
    api.sink.away = True
    async with api.watcher() as watcher:
        await api.event("one")
        await eventually(lambda: watcher.healthy() is not None)
        await api.event("two", reason="FailedMount")
        api.sink.away = False
        await eventually(lambda: api.sink.names == ["CrashLoopBackOff", "FailedMount"])
        assert watcher.healthy() is None


async def test_after_a_watch_is_too_old_it_lists_again_and_repeats_nothing(api: Api) -> None:
    original = api.cluster.watch
    failures = {"Event": [Conflict("410"), TemporaryError("reset"), Conflict("410")]}

    async def flaky(kind: str, namespace: str = "", **options: Any) -> AsyncGenerator[Any, None]:
        if failures.get(kind):
            raise failures[kind].pop()
        async for event in original(kind, namespace, **options):
            yield event

    api.cluster.watch = flaky  # type: ignore[method-assign]
    await api.event("early")
    async with api.watcher():
        await eventually(lambda: not failures["Event"])
        await api.event("late")
        await eventually(lambda: len(api.sink.signals) == 2)
        await asyncio.sleep(0.1)
        assert [one.resource.name for one in api.sink.signals] == ["early", "late"]


async def test_after_a_quiet_hour_it_goes_on_from_a_bookmark_and_lists_nothing_again(api: Api) -> None:
    lists: list[str] = []
    versions: list[int] = []
    pages, watch = api.cluster.pages, api.cluster.watch

    def counted(kind: str, *arguments: Any, **options: Any) -> AsyncGenerator[Any, None]:
        lists.append(kind)
        return pages(kind, *arguments, **options)

    def noted(kind: str, *arguments: Any, **options: Any) -> AsyncGenerator[Any, None]:
        if kind == "Event":
            versions.append(int(options["resource_version"]))
        return watch(kind, *arguments, **options)

    api.cluster.pages, api.cluster.watch = counted, noted  # type: ignore[method-assign]
    async with api.watcher(watch_seconds=1):
        await eventually(lambda: len(versions) == 1)
        for number in range(5):  # nothing that the watch is about
            await api.cluster.create("ConfigMap", "default", {"metadata": {"name": f"c{number}"}})
        await eventually(lambda: len(versions) == 2)
        assert versions[1] >= versions[0] + 5
        api.server.store.compact()  # only what is newer than the bookmark may be asked for now
        await api.event("late")
        await eventually(lambda: len(versions) == 3)
        assert [one.resource.name for one in api.sink.signals] == ["late"]
        assert sorted(lists) == ["Event", "Node", "Pod"]


async def test_what_arrives_together_is_published_together(api: Api) -> None:
    sizes: list[int] = []
    publish = api.sink.publish

    async def slow(signals: Sequence[Signal]) -> list[bool]:
        sizes.append(len(signals))
        await asyncio.sleep(0.2)
        return await publish(signals)

    api.sink.publish = slow  # type: ignore[method-assign]
    async with api.watcher() as watcher:
        await eventually(lambda: watcher.healthy() is None)
        for number in range(100):
            await api.event(f"p{number}")
        await eventually(lambda: len(api.sink.signals) == 100)
    assert len(sizes) < 25
    assert sum(sizes) == 100


async def test_an_object_that_nobody_understands_stops_nothing(api: Api) -> None:
    await api.event("odd")
    await api.event("sound")
    original = api.cluster.pages

    async def broken(kind: str, *arguments: Any, **options: Any) -> AsyncGenerator[Any, None]:
        async for page in original(kind, *arguments, **options):
            for item in page.items:
                if item["metadata"]["name"].startswith("odd"):
                    item["involvedObject"] = "nonsense"
            yield page

    api.cluster.pages = broken  # type: ignore[method-assign]
    async with api.watcher():
        await eventually(lambda: api.sink.names == ["CrashLoopBackOff"])
        assert api.sink.signals[0].resource.name == "sound"


async def test_a_pod_that_stays_unready_counts_after_its_grace_though_no_event_says_so(api: Api) -> None:
    spec = {"containers": [{"name": "app", "image": "registry.example/app:1"}]}
    await api.cluster.create("Pod", "default", {"metadata": {"name": "api-0"}, "spec": spec})
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": now}
    pod = await api.cluster.get("Pod", "default", "api-0")
    pod["status"] = {"phase": "Running", "conditions": [ready]}
    await api.cluster.replace("Pod", "default", "api-0", pod, subresource="status")
    async with api.watcher(grace=timedelta(seconds=1.5), tick=0.1):
        await asyncio.sleep(0.3)
        assert api.sink.names == []
        await eventually(lambda: api.sink.names == ["PodNotReady"])
        await asyncio.sleep(0.3)
        assert api.sink.names == ["PodNotReady"]


async def test_without_permission_it_says_so_and_goes_on(api: Api, tmp_path: Path) -> None:
    config = api.server.kubeconfig(tmp_path / "nobody.yaml", "nobody")
    async with await KubernetesCluster.connect("test", config) as blind:
        watcher = KubernetesWatcher(blind, api.sink)
        await watcher.start()
        await eventually(lambda: "missing permission: list" in str(watcher.healthy()))
        await watcher.stop()
