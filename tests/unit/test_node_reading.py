"""What is read of nodes, quotas, provisioners and controllers beside the obvious."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cortexops.domain.kubernetes.control_plane import is_unobserved, silent_since
from cortexops.domain.kubernetes.nodes import (
    Role,
    being_set_up,
    missing_driver,
    out_of_addresses,
    problems,
    roles,
    serves_driver,
)
from cortexops.domain.kubernetes.quotas import used_up
from cortexops.domain.kubernetes.refusals import Refuser, quota_of, refusal, undeclared
from cortexops.domain.kubernetes.storage import provides, provisioner_of


def _node(*conditions: tuple[str, str]) -> dict[str, object]:
    return {"status": {"conditions": [{"type": kind, "status": status} for kind, status in conditions]}}


def test_conditions_of_detectors_are_read_either_way_round_and_the_kubelets_are_left_alone() -> None:
    assert [c.type for c in problems(_node(("ReadonlyFilesystem", "True"), ("Ready", "False")))] == [
        "ReadonlyFilesystem"
    ]
    assert [c.type for c in problems(_node(("StorageReady", "False"), ("KernelReady", "True")))] == [
        "StorageReady"
    ]
    assert problems(_node(("KernelDeadlock", "False"), ("MemoryPressure", "True"), ("Special", "True"))) == []
    assert problems({}) == problems({"status": {"conditions": ["x"]}}) == []


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("kube-proxy", "", {Role.SERVICES}),
        ("cilium", "", {Role.SERVICES, Role.NETWORK}),
        ("x1", "registry.example/k8s-dns-node-cache:1.22", {Role.NAMES}),
        ("efs-csi-node", "", {Role.VOLUMES}),
        ("node-exporter", "quay.io/prometheus/node-exporter:v1.7", set()),
    ],
)
def test_agents_are_known_by_name_or_image(name: str, image: str, expected: set[Role]) -> None:
    assert roles(name, {"spec": {"containers": [{"image": image}]}}) == expected


def test_a_driver_is_told_from_others_by_what_is_its_own_in_the_name() -> None:
    said = "driver name efs.csi.aws.com not found in the list of registered CSI drivers"
    assert missing_driver(said) == "efs.csi.aws.com"
    assert serves_driver("efs-csi-node", "efs.csi.aws.com")
    assert not serves_driver("ebs-csi-node", "efs.csi.aws.com")
    assert not serves_driver("aws-node", "efs.csi.aws.com")


def test_lack_of_addresses_is_not_any_trouble_with_a_sandbox() -> None:
    assert out_of_addresses("add cmd: failed to assign an IP address to container")
    assert out_of_addresses("no IP addresses available in range set: 10.244.1.1-10.244.1.254")
    assert not out_of_addresses("stat /var/lib/calico/nodename: no such file or directory")


def test_a_pod_whose_init_container_crashes_is_no_longer_set_up() -> None:
    waiting = {"state": {"waiting": {"reason": "PodInitializing"}}}
    pod: dict[str, Any] = {
        "spec": {"nodeName": "a"},
        "status": {"phase": "Pending", "containerStatuses": [waiting]},
    }
    assert being_set_up(pod)
    pod["status"]["initContainerStatuses"] = [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]
    assert not being_set_up(pod)


def test_a_quota_that_demands_a_declaration_is_named_with_what_it_demands() -> None:
    said = "pods is forbidden: failed quota: team: must specify limits.memory for: web"
    assert (refusal(said).by, quota_of(said), undeclared(said)) == (
        Refuser.QUOTA, "team", "limits.memory for: web",
    )  # fmt: skip
    assert undeclared("exceeded quota: team, requested: pods=1, used: pods=2, limited: pods=2") == ""


def test_only_what_has_no_room_left_is_used_up() -> None:
    quota = {
        "status": {
            "hard": {"pods": "5", "cpu": "2", "x": "?"},
            "used": {"pods": "5", "cpu": "1500m", "x": "1"},
        }
    }
    assert used_up(quota) == {"pods": ("5", "5")}
    assert used_up({}) == {}


def test_a_provisioner_is_found_by_what_the_claim_says_it_waits_for() -> None:
    claim = {"metadata": {"annotations": {"volume.kubernetes.io/storage-provisioner": "ebs.csi.aws.com"}}}
    made = {"metadata": {"name": "ebs-csi-controller"}}
    assert provides(made, provisioner_of(claim))
    assert not provides({"metadata": {"name": "ebs-snapshots"}}, "ebs.csi.aws.com")
    built_in = {
        "metadata": {
            "annotations": {"volume.kubernetes.io/storage-provisioner": "kubernetes.io/no-provisioner"}
        }
    }
    assert provisioner_of(built_in) == provisioner_of({}) == ""


def test_a_change_that_no_controller_saw_is_told_from_an_object_without_one() -> None:
    assert is_unobserved({"metadata": {"generation": 3}, "status": {"observedGeneration": 2}})
    assert not is_unobserved({"metadata": {"generation": 3}, "status": {"observedGeneration": 3}})
    assert not is_unobserved({"metadata": {"generation": 3}})
    now = datetime(2026, 3, 10, tzinfo=UTC)
    lease = {"spec": {"renewTime": (now - timedelta(minutes=9)).isoformat()}}
    assert silent_since(lease, now) == now - timedelta(minutes=9)
    assert silent_since(lease, now - timedelta(minutes=8)) is None
    assert silent_since({}, now) is None
