"""How an object was made, kept so that a later look can tell what has changed; no value can be read from it."""

from __future__ import annotations

from typing import Any

import pytest

from cortexops.domain.case import fingerprint_of
from cortexops.domain.precedent import Fingerprint
from cortexops.domain.recall import changed_since
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Edge, Relation, Topology
from tests.memory.support import NOW

API = ResourceRef(cluster="c", kind="Deployment", namespace="shop", name="api")
POD = ResourceRef(cluster="c", kind="Pod", namespace="shop", name="api-1")
SPEC: dict[str, Any] = {
    "containers": [
        {
            "name": "api",
            "image": "shop/api:1",
            "envFrom": [{"configMapRef": {"name": "api-env"}}, {"secretRef": {"name": "api-key"}}],
        }
    ],
    "initContainers": [{"name": "wait", "image": "busybox"}],
}


def seen(*, config: Any = None, secret_version: str = "1", image_id: str = "", **spec: Any) -> Fingerprint:
    pod_spec = {**SPEC, **spec}
    objects = {
        API.key: {"kind": "Deployment", "spec": {"replicas": 3, "template": {"spec": pod_spec}}},
        POD.key: {
            "kind": "Pod",
            "spec": pod_spec,
            "status": {"containerStatuses": [{"name": "api", "imageID": image_id}]},
        },
        "c:shop:ConfigMap:api-env": {"data": {"SIZE": "40"} if config is None else config},
        "c:shop:Secret:api-key": {
            "metadata": {"uid": "u", "resourceVersion": secret_version},
            "data": {"KEY": ""},
        },
    }
    edge = Edge(source=API, relation=Relation.OWNS, target=POD)
    scene = Scene(
        cluster="c", environment="production", target=API, now=NOW, onset=NOW, objects=objects,
        topology=Topology(edges=(edge,)),
    )  # fmt: skip
    return fingerprint_of(scene)


def test_it_tells_kind_shape_images_and_configuration() -> None:
    found = seen(image_id="docker.io/shop/api@sha256:abc")
    assert (found.kind, found.owner_kind, found.shape) == ("Deployment", "Deployment", "Deployment")
    assert (found.containers, found.init_containers, found.replicas, found.stateful) == (1, 1, 3, False)
    assert found.images == {"api": "sha256:abc", "wait": "busybox"}
    assert sorted(found.configs) == ["ConfigMap/api-env", "Secret/api-key"]
    assert all(len(value) == 16 for value in found.configs.values())


def test_a_claim_makes_it_stateful() -> None:
    found = seen(volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "d"}}])
    assert found.stateful and found.shape == "Deployment with volumes"


def test_what_changed_is_told_apart() -> None:
    before = seen(image_id="x@sha256:abc")
    assert changed_since(before, seen(image_id="x@sha256:abc")) == ([], [])
    assert changed_since(before, seen(image_id="x@sha256:def")) == (["api"], [])
    assert changed_since(before, seen(image_id="x@sha256:abc", config={"SIZE": "20"})) == (
        [],
        ["ConfigMap/api-env"],
    )
    assert changed_since(before, seen(image_id="x@sha256:abc", secret_version="2")) == (
        [],
        ["Secret/api-key"],
    )


@pytest.mark.parametrize("data", [{"a": "\ud800"}, {"a": float("nan")}, [], "x", 7, {"a": {"b": [None]}}])
def test_odd_configuration_never_raises(data: Any) -> None:
    assert seen(config=data).owner_kind == "Deployment"


def test_a_target_that_was_not_found_has_an_empty_fingerprint() -> None:
    scene = Scene(cluster="c", environment="", target=API, now=NOW, onset=NOW)
    assert fingerprint_of(scene).images == {}
