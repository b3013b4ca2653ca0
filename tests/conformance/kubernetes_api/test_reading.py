"""Lists, selectors, pages and watches."""

from __future__ import annotations

import asyncio

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import Rejected
from cortexops.ports.cluster import PatchType, WatchEvent
from tests.conformance.kubernetes_api.conftest import Target, config, pod


@pytest.fixture
async def filled(cluster: KubernetesCluster, space: str) -> str:
    for index in range(7):
        body = config(f"c{index}", n=str(index))
        body["metadata"]["labels"] = {"tier": "web" if index % 2 else "db", "n": str(index)}
        await cluster.create("ConfigMap", space, body)
    return space


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("tier=web", {"c1", "c3", "c5"}),
        ("tier!=web,n", {"c0", "c2", "c4", "c6"}),
        ("n in (1,2)", {"c1", "c2"}),
        ("tier notin (web),n", {"c0", "c2", "c4", "c6"}),
        ("tier==db,n=4", {"c4"}),
        ("!tier,n", set()),
    ],
)
async def test_label_selectors(cluster: KubernetesCluster, filled: str, selector: str, expected: set[str]):
    found = await cluster.list("ConfigMap", filled, labels=selector)
    assert {item["metadata"]["name"] for item in found.items} == expected


async def test_unparsable_label_selector_is_refused(cluster: KubernetesCluster, space: str):
    with pytest.raises(Rejected, match="unable to parse requirement"):
        await cluster.list("Pod", space, labels="a b")


async def test_field_selectors(cluster: KubernetesCluster, space: str):
    await cluster.create("Pod", space, pod("one"))
    await cluster.create("Pod", space, pod("two"))
    by_name = await cluster.list("Pod", space, fields="metadata.name=one")
    assert [item["metadata"]["name"] for item in by_name.items] == ["one"]
    assert len((await cluster.list("Pod", space, fields="status.phase=Pending")).items) == 2
    assert (await cluster.list("Pod", space, fields="status.phase=Running")).items == []
    assert len((await cluster.list("Pod", space, fields="spec.nodeName=")).items) == 2


async def test_unsupported_field_selector_is_refused(cluster: KubernetesCluster, space: str):
    with pytest.raises(Rejected, match="field label not supported"):
        await cluster.list("Pod", space, fields="spec.nothing=1")


async def test_events_are_selected_by_their_object(cluster: KubernetesCluster, space: str):
    for name in ("one", "two"):
        about = {"kind": "Pod", "namespace": space, "name": name, "uid": f"uid-{name}"}
        await cluster.create(
            "Event",
            space,
            {
                "metadata": {"name": f"e-{name}"},
                "involvedObject": about,
                "reason": "BackOff",
                "type": "Warning",
            },
        )
    selector = "involvedObject.name=one,involvedObject.kind=Pod,type=Warning"
    found = await cluster.list("Event", space, fields=selector)
    assert [event["metadata"]["name"] for event in found.items] == ["e-one"]


async def test_pages_add_up_to_the_list(cluster: KubernetesCluster, filled: str):
    before = cluster.requests
    found = await cluster.list("ConfigMap", filled, labels="n", limit=3)
    assert [item["metadata"]["name"] for item in found.items] == [f"c{index}" for index in range(7)]
    assert cluster.requests - before == 3
    assert not found.cut


async def test_cap_cuts_and_says_so(cluster: KubernetesCluster, filled: str):
    found = await cluster.list("ConfigMap", filled, labels="n", limit=3, most=4)
    assert len(found.items) == 4
    assert found.cut


async def test_pages_show_one_moment(target: Target, cluster: KubernetesCluster, filled: str):
    path = f"/api/v1/namespaces/{filled}/configmaps?labelSelector=n&limit=3"
    _, first = await target.send("GET", path)
    await cluster.delete("ConfigMap", filled, "c5")
    await cluster.create("ConfigMap", filled, {"metadata": {"name": "c4b", "labels": {"n": "x"}}})
    names = [item["metadata"]["name"] for item in first["items"]]
    page = first
    while page["metadata"].get("continue"):
        _, page = await target.send("GET", f"{path}&continue={page['metadata']['continue']}")
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [item["metadata"]["name"] for item in page["items"]]
    assert names == [f"c{index}" for index in range(7)]


async def test_list_items_come_without_kind_on_the_wire_and_with_it_from_the_adapter(
    target: Target, cluster: KubernetesCluster, filled: str
):
    _, raw = await target.send("GET", f"/api/v1/namespaces/{filled}/configmaps?limit=1")
    assert (raw["kind"], raw["apiVersion"]) == ("ConfigMapList", "v1")
    assert "kind" not in raw["items"][0]
    found = await cluster.list("ConfigMap", filled)
    assert {(item["kind"], item["apiVersion"]) for item in found.items} == {("ConfigMap", "v1")}


async def collect(
    cluster: KubernetesCluster, space: str, version: str, count: int, kind: str = "ConfigMap"
) -> list[WatchEvent]:
    events: list[WatchEvent] = []
    stream = cluster.watch(kind, space, resource_version=version, timeout_seconds=20)
    async for event in stream:
        if event.type != "BOOKMARK":
            events.append(event)
        if len(events) == count:
            break
    return events


async def test_watch_resumes_after_a_version(cluster: KubernetesCluster, space: str):
    version = (await cluster.list("ConfigMap", space)).resource_version
    await cluster.create("ConfigMap", space, config("x", a="1"))
    await cluster.patch("ConfigMap", space, "x", {"data": {"a": "2"}}, patch_type=PatchType.MERGE)
    await cluster.delete("ConfigMap", space, "x")
    async with asyncio.timeout(15):
        seen = await collect_named(cluster, space, version, "x", 3)
    assert [event.type for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert [event.object["data"]["a"] for event in seen] == ["1", "2", "2"]
    versions = [int(event.object["metadata"]["resourceVersion"]) for event in seen]
    assert versions == sorted(set(versions))


async def collect_named(
    cluster: KubernetesCluster, space: str, version: str, name: str, count: int
) -> list[WatchEvent]:
    events: list[WatchEvent] = []
    async for event in cluster.watch("ConfigMap", space, resource_version=version, timeout_seconds=20):
        if event.type != "BOOKMARK" and event.object["metadata"]["name"] == name:
            events.append(event)
        if len(events) == count:
            break
    return events


async def test_watch_sees_what_happens_later(cluster: KubernetesCluster, space: str):
    version = (await cluster.list("Secret", space)).resource_version
    task = asyncio.create_task(collect(cluster, space, version, 1, "Lease"))
    await asyncio.sleep(0.1)
    await cluster.create("Lease", space, {"metadata": {"name": "late"}})
    async with asyncio.timeout(15):
        (event,) = await task
    assert (event.type, event.object["metadata"]["name"]) == ("ADDED", "late")
    assert event.object["kind"] == "Lease"


async def test_watch_ends_at_its_time_out(cluster: KubernetesCluster, space: str):
    version = (await cluster.list("Lease", space)).resource_version
    async with asyncio.timeout(10):
        events = [
            event
            async for event in cluster.watch("Lease", space, resource_version=version, timeout_seconds=1)
        ]
    assert all(event.type == "BOOKMARK" for event in events)
