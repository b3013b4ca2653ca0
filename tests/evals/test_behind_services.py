"""Who stands behind a Service, whatever its kind, and who refuses or fails it: variants of incidents of the set."""

from __future__ import annotations

import base64
import copy
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from activities.actions import propose
from activities.oneshot import investigate_payload
from cortexops.adapters.kubernetes import KubernetesCluster
from ingest.decode import decode_file
from tests.evals.api import Api
from tests.evals.expand import Incident
from tests.evals.run import investigate, load, name_of
from tests.evals.shapes import certificate, hash_of

JSON = dict[str, Any]


async def _cause(incident: Incident) -> tuple[str, str, list[str]]:
    """(object, category, paths asked for) of the investigation."""
    with tempfile.TemporaryDirectory() as folder:
        async with Api(incident.objects, incident.logs, **incident.server) as api:
            now = datetime.now(UTC)
            parsed = decode_file(json.dumps(incident.payload), "auto", "eval", now)
            client = await KubernetesCluster.connect("eval", api.kubeconfig(Path(folder) / "config"))
            try:
                report = await investigate_payload(client, parsed.signals, now, propose)
            finally:
                await client.close()
            cause = report["incidents"][0]["root_cause"]
            return name_of(cause["resource"]), cause["category"], list(api.requests)


def _of_kind(incident: Incident, kind: str, name: str = "") -> list[JSON]:
    return [
        obj for obj in incident.objects if obj["kind"] == kind and obj["metadata"]["name"].startswith(name)
    ]


async def test_replica_sets_that_nothing_owns_are_found_behind_a_service() -> None:
    incident = load("rollout-behind-service-cannot-pull")
    rollout = _of_kind(incident, "Rollout")[0]
    for replica_set in _of_kind(incident, "ReplicaSet", "seating"):
        del replica_set["metadata"]["ownerReferences"]
    found = await _cause(incident._replace(objects=[o for o in incident.objects if o is not rollout]))
    assert found[0].startswith("ReplicaSet/theatre/seating-")
    assert found[1] == "image_not_found"


async def test_a_replica_set_stands_for_a_rollout_that_may_not_be_read() -> None:
    incident = load("rollout-behind-service-cannot-pull")
    found = await _cause(incident._replace(server={"denied": ["list rollouts", "get rollouts"]}))
    assert found[0].startswith("ReplicaSet/theatre/seating-")
    assert found[1] == "image_not_found"


async def test_a_daemon_set_is_found_behind_a_service() -> None:
    incident = load("rollout-behind-service-cannot-pull")
    owned = {obj["metadata"]["name"] for obj in _of_kind(incident, "ReplicaSet", "seating")}
    kept = []
    for each in incident.objects:
        obj = each
        if obj["kind"] == "ReplicaSet" and obj["metadata"]["name"] in owned:
            continue
        if obj["kind"] == "Rollout":
            spec = {key: obj["spec"][key] for key in ("selector", "template")}
            status = {"desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberReady": 0}
            obj = {**obj, "kind": "DaemonSet", "apiVersion": "apps/v1", "spec": spec, "status": status}
        for owner in obj["metadata"].get("ownerReferences", []):
            if owner["name"] in owned:
                owner |= {"kind": "DaemonSet", "name": "seating"}
        kept.append(obj)
    found = await _cause(incident._replace(objects=kept))
    assert found[:2] == ("DaemonSet/theatre/seating", "image_not_found")
    assert not [path for path in found[2] if "/rollouts" in path], "this server has no Rollouts"


async def test_kinds_that_are_rare_are_not_asked_for_where_a_common_one_stands_behind_the_service() -> None:
    _, _, asked = await _cause(load("hpa-maximum-cut-for-a-callee"))
    assert not [path for path in asked if "/rollouts" in path or "webhookconfigurations" in path]


async def test_a_webhook_of_an_unreadable_configuration_is_told_by_the_service_that_serves_it() -> None:
    incident = load("trap-webhook-configuration-may-not-be-read")
    service = copy.deepcopy(_of_kind(incident, "Service", "scans")[0])
    service["metadata"] |= {"name": "stamp", "namespace": "stamps"}
    service["spec"] |= {"selector": {"app": "stamp"}, "clusterIP": "10.96.44.4"}
    found = await _cause(incident._replace(objects=[*incident.objects, service]))
    assert found[:2] == ("Service/stamps/stamp", "admission_webhook")


async def test_an_ingress_of_another_namespace_shows_the_certificate_that_has_expired() -> None:
    incident = load("trap-expired-secret-that-nobody-shows")
    pair = certificate("api.harbourbank.example", "90d", "25m")
    secret = copy.deepcopy(_of_kind(incident, "Secret", "cabins-old-tls")[0])
    secret["metadata"] |= {"name": "bank-tls", "namespace": "bank", "uid": hash_of("bank", size=12)}
    secret["data"] = {key: base64.b64encode(value.encode()).decode() for key, value in pair.items()}
    ingress = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "bank", "namespace": "bank", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {
            "tls": [{"hosts": ["api.harbourbank.example"], "secretName": "bank-tls"}],
            "rules": [{"host": "api.harbourbank.example"}],
        },
    }
    found = await _cause(incident._replace(objects=[*incident.objects, secret, ingress]))
    assert found[:2] == ("Secret/bank/bank-tls", "certificate_expired")


async def test_a_certificate_in_a_secret_that_may_not_be_read_is_told_of_the_callee_that_shows_it() -> None:
    incident = load("peer-certificate-expired-beside-release")
    found = await _cause(incident._replace(server={"denied": ["get secrets", "list secrets"]}))
    assert found[:2] == ("Deployment/members/loyalty", "dependency_down")


async def test_a_service_of_one_revision_of_a_rollout_is_followed_to_the_rollout() -> None:
    incident = load("rollout-behind-service-cannot-pull")
    newest = _of_kind(incident, "ReplicaSet", "seating")[-1]["metadata"]["labels"]["pod-template-hash"]
    for obj in [*_of_kind(incident, "Pod", "seating"), *_of_kind(incident, "ReplicaSet", "seating")]:
        labels = obj["metadata"]["labels"]
        labels["rollouts-pod-template-hash"] = labels.pop("pod-template-hash")
    for service in _of_kind(incident, "Service", "seating"):
        service["spec"]["selector"]["rollouts-pod-template-hash"] = newest
    found = await _cause(incident)
    assert found[:2] == ("Rollout/theatre/seating", "image_not_found")


async def test_a_node_is_not_blamed_for_its_clock_where_pods_on_others_complain_alike() -> None:
    incident = load("node-clock-behind-rejects-passes")
    said = "WARN pass refused: jwt: iat claim is in the future (by 5m18s)"
    logs = {key: text.replace("INFO fare debited", said) for key, text in incident.logs.items()}
    report = await investigate(incident._replace(logs=logs))
    nodes = [h for h in report["incidents"][0]["hypotheses"] if h["resource"]["kind"] == "Node"]
    assert all(h["confidence"] < 0.5 for h in nodes)


async def test_a_maximum_that_nobody_is_known_to_have_lowered_is_no_more_than_a_hypothesis() -> None:
    incident = load("hpa-maximum-cut-for-a-callee")
    for scaler in _of_kind(incident, "HorizontalPodAutoscaler"):
        del scaler["metadata"]["managedFields"]
    kept = [obj for obj in incident.objects if obj["kind"] != "Event"]
    report = await investigate(incident._replace(objects=kept))
    assert report["incidents"][0]["verdict"] == "hypothesis"
    assert report["incidents"][0]["root_cause"]["category"] == "hpa_maxed_out"
