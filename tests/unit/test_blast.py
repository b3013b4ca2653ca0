"""Who is touched when an action goes wrong."""

from __future__ import annotations

import pytest

from cortexops.domain.blast import gitops_owner, node_radius, replica_count, workload_radius
from cortexops.domain.resource import JSON
from tests.investigation.objects import deployment, node, pod, ref, running, scene


def daemon_set() -> JSON:
    live = deployment() | {"kind": "DaemonSet", "status": {"desiredNumberScheduled": 7}}
    del live["spec"]["replicas"]
    return live


@pytest.mark.parametrize(
    ("live", "count"),
    [(deployment(replicas=3), 3), (deployment(replicas=0), 0), (daemon_set(), 7), ({"spec": {}}, 1), ({}, 1)],
)
def test_replicas_are_counted_as_each_kind_says_them(live: JSON, count: int) -> None:
    assert replica_count(live) == count


def test_a_workload_touches_its_replicas_unless_fewer_are_named() -> None:
    target = ref("Deployment", "api")
    made = scene(target, deployment(replicas=3))
    assert workload_radius(made, target).replicas == 3
    assert workload_radius(made, target, replicas=1).replicas == 1
    assert not workload_radius(made, target).stateful
    assert workload_radius(made, ref("StatefulSet", "db")).stateful


def test_a_node_touches_the_pods_on_it() -> None:
    owner = deployment()
    pods = [pod(owner, running(), suffix=name, node="node-1") for name in ("a", "b")]
    elsewhere = pod(owner, running(), suffix="c", node="node-2")
    made = scene(ref("Node", "node-1"), node("node-1"), owner, *pods, elsewhere)
    radius = node_radius(made, ref("Node", "node-1"))
    assert (radius.replicas, radius.namespaces) == (2, 1)


def test_marks_of_git_are_found_in_labels_and_annotations_only_where_they_belong() -> None:
    assert gitops_owner({"metadata": {"labels": {"argocd.argoproj.io/instance": "x"}}})
    assert not gitops_owner({"metadata": {"annotations": {"argocd.argoproj.io/instance": "x"}}})
    assert not gitops_owner({"metadata": {"labels": None}})
    assert not gitops_owner({})
