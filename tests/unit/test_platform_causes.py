"""What a node, a route or a controller does to a workload; each rule with a twin in which it must keep quiet."""

from __future__ import annotations

import pytest

from cortexops.domain.diagnosis import Category
from cortexops.domain.evidence import EvidenceBook, Gap, GapReason
from cortexops.domain.growth import growth
from cortexops.domain.kubernetes.gateways import refusals
from cortexops.domain.kubernetes.last_words import telling
from cortexops.domain.kubernetes.nodes import mounts_for, registers
from cortexops.domain.left_nodes import taken_away
from cortexops.domain.pulling import category_of, worded
from cortexops.domain.resource import JSON
from tests.investigation.objects import (
    ago,
    deployment,
    diagnose,
    event,
    node,
    pod,
    ref,
    replica_set,
    scene,
    told,
    waiting,
)

API = ref("Deployment", "api")
PULLED = 'Failed to pull image "acme/api:2": failed to pull and unpack image "acme/api:2": '


@pytest.mark.parametrize(
    ("said", "category", "words"),
    [
        ("failed to extract layer x: write /y: no space left on device", Category.NODE_PRESSURE, "no space"),
        ("http: server gave HTTP response to HTTPS client", Category.REGISTRY_UNREACHABLE, "plain HTTP"),
        ("read tcp 10.0.0.1: connection reset by peer", Category.REGISTRY_UNREACHABLE, "does not answer"),
        ("unexpected commit digest sha256:9", Category.IMAGE_NOT_FOUND, "unpacked on its node: unexpected"),
        ("some words of tomorrow", Category.IMAGE_NOT_FOUND, "cannot be pulled: some words of tomorrow"),
        ("acme/api:2: not found", Category.IMAGE_NOT_FOUND, "does not exist in the registry"),
    ],
)
def test_a_pull_that_failed_is_told_by_what_the_runtime_said(said: str, category: Category, words: str):
    found, _ = category_of([PULLED + said, "ErrImagePull"])
    assert found is category
    assert words in worded(found, [PULLED + said, "ErrImagePull"])


def test_of_a_back_off_alone_a_missing_image_is_the_best_guess():
    found, sure = category_of(['Back-off pulling image "acme/api:2"', "ImagePullBackOff"])
    assert (found, sure) == (Category.IMAGE_NOT_FOUND, 0.75)
    assert worded(found, ['Back-off pulling image "acme/api:2"']) == "does not exist in the registry"


def test_a_full_disk_is_the_nodes_matter_and_not_the_images():
    live = deployment(replicas=1, ready=0)
    body = live["spec"]["template"]
    rs = replica_set(live, 4, body, ago(minutes=20), 1)
    message = f'Back-off pulling image "acme/api:2": ErrImagePull: {PULLED}no space left on device'
    hangs = pod(rs, waiting("ImagePullBackOff", message), ready=False)
    found = diagnose(scene(API, live, rs, hangs, node()))
    assert told(found) == ("root_cause", "node_pressure", "Node node-1")


def claim(asked: str, has: str, *conditions: JSON) -> JSON:
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop"},
        "spec": {"resources": {"requests": {"storage": asked}}},
        "status": {"phase": "Bound", "capacity": {"storage": has}, "conditions": list(conditions)},
    }  # fmt: skip


def test_why_a_claim_has_not_grown_is_told_in_the_resizers_words():
    live = claim("300Gi", "150Gi")
    says = 'resize volume "pv" failed: rpc error: code = Internal desc = Could not modify: api error Slow: wait 6 hours'
    made = scene(API, live, events=(event(live, "VolumeResizeFailed", says),))
    evidence: list[str] = []
    where = ref("PersistentVolumeClaim", "data")
    found = growth(made, EvidenceBook(), where, evidence)
    assert found == "; its growth to 300Gi fails: Slow: wait 6 hours"
    assert evidence
    pending = {"type": "FileSystemResizePending", "status": "True"}
    anew = growth(scene(API, claim("300Gi", "150Gi", pending)), EvidenceBook(), where, [])
    assert "started anew" in anew
    assert "has not yet" in growth(scene(API, claim("300Gi", "150Gi")), EvidenceBook(), where, [])


@pytest.mark.parametrize(("asked", "has"), [("10Gi", "10Gi"), ("10Gi", "12Gi"), ("", "1Gi"), ("much", "1Gi")])
def test_a_claim_that_asks_for_no_more_does_not_grow(asked: str, has: str):
    where = ref("PersistentVolumeClaim", "data")
    assert growth(scene(API, claim(asked, has)), EvidenceBook(), where, []) == ""


GONE: JSON = {"kind": "Node", "metadata": {"name": "node-9"}}


def test_a_node_that_the_autoscaler_took_away_is_not_missed():
    removed = event(GONE, "ScaleDown", "node removed by cluster autoscaler", kind="Normal")
    found = diagnose(scene(ref("Node", "node-9"), node(), events=(removed,)))
    assert told(found)[0] == "healthy"
    assert found.summary == (
        "Nothing wrong was found: Node node-9 is not there any more, the cluster autoscaler removed it."
    )


def test_a_node_that_is_gone_for_other_reasons_is_not_called_well():
    lost = event(GONE, "DeletingNode", "it does not exist in the cloud provider", kind="Normal")
    refused = event(GONE, "ScaleDown", "failed to drain the node")
    for said in (lost, refused):
        assert told(diagnose(scene(ref("Node", "node-9"), node(), events=(said,))))[0] == "unknown"


def test_a_node_that_may_not_be_read_is_not_called_gone():
    removed = event(GONE, "ScaleDown", "node removed by cluster autoscaler", kind="Normal")
    unread = (Gap(reason=GapReason.FORBIDDEN, what="get nodes/node-9", detail="403"),)
    made = scene(ref("Node", "node-9"), node(), events=(removed,), gaps=unread)
    assert taken_away(made, ref("Node", "node-9")) == ""
    still = scene(ref("Node", "node-9"), node("node-9"), events=(removed,))
    assert taken_away(still, ref("Node", "node-9")) == ""


def daemon_set(name: str, *images: str) -> JSON:
    return {
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"containers": [{"image": image} for image in images]}}},
    }


def test_the_set_that_serves_a_driver_is_known_by_its_registrar():
    driver = "secrets-store.csi.k8s.io"
    serves = daemon_set("a-secrets-store-csi-driver", "x/csi-node-driver-registrar:v2", "x/driver:v1")
    provider = daemon_set("secrets-store-csi-driver-provider-x", "x/provider:v1")
    assert mounts_for(serves, driver)
    assert registers(serves)
    assert mounts_for(provider, driver)
    assert not registers(provider)
    assert not mounts_for(daemon_set("ebs-csi-node", "x/node-driver-registrar:v2"), driver)
    assert not mounts_for(daemon_set("secrets-store-sync", "x/sync:v1"), driver)


def test_of_lines_that_bear_a_level_the_errors_tell():
    lines = [
        'E1121 20:02:06.607078       1 scraper.go:149] "Failed to scrape node" err="x509: no IP SANs"',
        'I1121 20:02:08.747234       1 server.go:191] "Failed probe" err="no metrics to serve"',
    ]
    assert telling(lines) == '"Failed to scrape node" err="x509: no IP SANs"'
    assert telling(lines[1:]) == '"Failed probe" err="no metrics to serve"'


def test_a_refused_route_tells_since_when():
    condition = {
        "type": "ResolvedRefs",
        "status": "False",
        "reason": "RefNotPermitted",
        "message": "no grant",
    }
    route = {"status": {"parents": [{"conditions": [{**condition, "lastTransitionTime": ago(hours=2)}]}]}}
    found = refusals(route)
    assert [(each.condition, each.reason) for each in found] == [("ResolvedRefs", "RefNotPermitted")]
    assert found[0].since is not None
