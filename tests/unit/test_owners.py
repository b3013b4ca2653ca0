"""Guessing workloads from labels and names."""

from __future__ import annotations

import pytest

from cortexops.domain.owners import controller_of, guess_workload
from cortexops.domain.resource import ResourceRef


@pytest.mark.parametrize(
    ("kind", "name", "labels", "expected"),
    [
        ("Pod", "api-7d9f8b6c5d-x2z4k", {}, "Deployment shop/api"),
        ("Pod", "api-v2-5f6b7c8d9f-bq7xz", {}, "Deployment shop/api-v2"),
        ("Pod", "db-0", {}, "StatefulSet shop/db"),
        ("Pod", "agent-x7k2m", {}, "DaemonSet shop/agent"),
        ("Pod", "report-28461230-x7k2m", {}, "CronJob shop/report"),
        ("Pod", "redis-cache", {}, "Pod shop/redis-cache"),
        (
            "Pod",
            "odd",
            {"created_by_kind": "ReplicaSet", "created_by_name": "web-7d9f8b6c5d"},
            "Deployment shop/web",
        ),
        ("Pod", "load-abc", {"job-name": "load"}, "Job shop/load"),
        ("Pod", "api-abc-x2z4k", {"pod-template-hash": "abc"}, "Deployment shop/api"),
        ("ReplicaSet", "api-7d9f8b6c5d", {}, "Deployment shop/api"),
        ("Job", "report-28461230", {}, "CronJob shop/report"),
        ("Deployment", "api-7d9f8b6c5d", {}, "Deployment shop/api-7d9f8b6c5d"),
    ],
)
def test_the_shapes_of_generated_names_tell_the_workload(
    kind: str, name: str, labels: dict[str, str], expected: str
) -> None:
    resource = ResourceRef(cluster="c", kind=kind, namespace="shop", name=name)
    assert str(guess_workload(resource, labels)) == expected


def test_only_the_controlling_owner_of_a_known_kind_counts() -> None:
    def owned(**reference: object) -> dict[str, object]:
        return {"metadata": {"ownerReferences": [reference]}}

    assert controller_of(owned(kind="ReplicaSet", name="a", controller=True)) == ("ReplicaSet", "a")
    assert controller_of(owned(kind="ReplicaSet", name="a")) is None
    assert controller_of(owned(kind="Workflow", name="a", controller=True)) is None
    assert controller_of({}) is None
