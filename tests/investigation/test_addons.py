"""Objects of add-ons are asked for only where the server has their groups, in lists, each once."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from activities.actions import propose
from activities.oneshot import investigate_payload
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import KINDS
from ingest.decode import decode_file
from tests.evals.api import Api
from tests.evals.run import load

GROUPS = {kind.group for kind in KINDS.values() if kind.brought}
_ONE_OF_EACH = (
    ("chaos-mesh.org/v1alpha1", "PodChaos"), ("litmuschaos.io/v1alpha1", "ChaosEngine"),
    ("networking.istio.io/v1", "VirtualService"), ("security.istio.io/v1", "PeerAuthentication"),
    ("keda.sh/v1alpha1", "ScaledObject"), ("autoscaling.k8s.io/v1", "VerticalPodAutoscaler"),
    ("external-secrets.io/v1beta1", "ExternalSecret"), ("bitnami.com/v1alpha1", "SealedSecret"),
    ("cilium.io/v2", "CiliumNetworkPolicy"), ("crd.projectcalico.org/v1", "GlobalNetworkPolicy"),
    ("argoproj.io/v1alpha1", "Application"), ("helm.toolkit.fluxcd.io/v2", "HelmRelease"),
    ("kustomize.toolkit.fluxcd.io/v1", "Kustomization"),
)  # fmt: skip


async def looked_at(name: str, tmp_path: Path, *more: dict[str, Any], **server: Any) -> tuple[Any, list[str]]:
    """The report on the incident, and the paths that were asked for."""
    incident = load(name)
    async with Api([*incident.objects, *more], incident.logs, **(incident.server | server)) as api:
        now = datetime.now(UTC)
        parsed = decode_file(json.dumps(incident.payload), "auto", "eval", now)
        client = await KubernetesCluster.connect("eval", api.kubeconfig(tmp_path / "config"))
        try:
            report = await investigate_payload(client, parsed.signals, now, propose)
        finally:
            await client.close()
        return report, [request.split(" ")[1].split("?")[0] for request in api.requests]


def of_addons(paths: list[str]) -> list[str]:
    return [path for path in paths if path.split("/")[2:3] and path.split("/")[2] in GROUPS]


def unrelated(version: str, kind: str, number: int = 0) -> dict[str, Any]:
    metadata = {"name": f"other-{number}", "namespace": "elsewhere"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": {}}


async def test_a_cluster_without_add_ons_is_sent_no_request_for_them(tmp_path: Path) -> None:
    _, paths = await looked_at("trap-other-service-down", tmp_path)
    assert of_addons(paths) == [] and len(paths) <= 25 and paths.count("/apis") == 1


async def test_with_all_add_ons_there_is_one_list_for_each_kind_and_no_other_cause(tmp_path: Path) -> None:
    _, bare = await looked_at("trap-other-service-down", tmp_path)
    others = [unrelated(*each, number=number) for each in _ONE_OF_EACH for number in range(20)]
    report, paths = await looked_at("trap-other-service-down", tmp_path, *others)
    asked = of_addons(paths)
    assert set(Counter(asked).values()) == {1}
    assert len(paths) - len(bare) == len(asked) <= 27
    assert report["incidents"][0]["root_cause"]["resource"]["name"] == "api"


async def test_a_group_whose_kind_is_missing_is_no_gap(tmp_path: Path) -> None:
    report, _ = await looked_at("argo-rollout-canary-crash", tmp_path)
    assert not any("applications" in gap["what"] for gap in report["incidents"][0].get("gaps", []))


async def test_a_list_that_is_forbidden_names_the_permission_and_is_tried_in_the_namespace(
    tmp_path: Path,
) -> None:
    report, paths = await looked_at(
        "chaos-memory-stress", tmp_path, denied=["list stresschaos"]
    )  # fmt: skip
    assert "list stresschaos.chaos-mesh.org" in json.dumps(report)
    assert "/apis/chaos-mesh.org/v1alpha1/namespaces/shop/stresschaos" in paths


async def test_a_kind_whose_group_is_not_there_is_not_asked_for(tmp_path: Path) -> None:
    async with Api([unrelated("keda.sh/v1alpha1", "ScaledObject")], {}) as api:
        client = await KubernetesCluster.connect("eval", api.kubeconfig(tmp_path / "config"))
        try:
            assert (await client.list("ScaledObject", "elsewhere")).items
            with pytest.raises(InvalidInput):
                await client.list("PodChaos")
            assert not any("podchaos" in request for request in api.requests)
        finally:
            await client.close()


async def test_a_route_from_outside_to_a_misspelt_service_is_found_from_the_service_that_was_meant(
    tmp_path: Path,
) -> None:
    metadata = {"name": "edge", "namespace": "shop", "creationTimestamp": "2026-03-10T13:51:00Z"}
    sent = [{"destination": {"host": "catalogues"}}]
    spec = {"hosts": ["shop.acme.dev"], "gateways": ["public"], "http": [{"route": sent}]}
    route = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": metadata,
        "spec": spec,
    }
    gateway = unrelated("networking.istio.io/v1", "Gateway") | {
        "metadata": {"name": "public", "namespace": "shop"}
    }
    hidden = ["metrics.k8s.io/v1beta1", "chaos-mesh.org/v1alpha1"]  # so is the incident's own cause
    report, _ = await looked_at(
        "chaos-http-abort-on-own-service",
        tmp_path,
        route,
        gateway,
        without=hidden,
    )
    cause = report["incidents"][0]["root_cause"]
    assert (cause["resource"]["kind"], cause["category"]) == ("VirtualService", "mesh_route")
