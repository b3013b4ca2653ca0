"""Policies of Cilium and Calico, synced Secrets, further autoscalers, deliveries, and what people can do."""

from __future__ import annotations

from typing import Any

import pytest

from cortexops.domain.diagnosis import Category, Hypothesis, Support
from cortexops.domain.kubernetes import addon_policies, commands, delivery, syncing
from cortexops.domain.kubernetes.addon_policies import Says
from cortexops.domain.kubernetes.network import Peer
from cortexops.domain.manual_addons import addon_step
from cortexops.domain.resource import JSON, KINDS
from tests.investigation.objects import ago, ref

DB = Peer("shop", {"app": "db"}, {})
API, WEB = Peer("shop", {"app": "api"}, {}), Peer("front", {"app": "web"}, {"team": "web"})
OUTSIDE = Peer("", {}, {})


def cilium(**spec: Any) -> JSON:
    chosen = {"endpointSelector": {"matchLabels": {"app": "db"}}}
    return {"metadata": {"name": "p", "namespace": "shop"}, "spec": chosen | spec}


def calico(*rules: JSON, direction: str = "Ingress", **spec: Any) -> JSON:
    body = {"selector": "app == 'db'", "types": [direction], direction.lower(): list(rules)}
    return {"metadata": {"name": "p", "namespace": "shop"}, "spec": body | spec}


@pytest.mark.parametrize(
    ("spec", "peer", "wanted"),
    [
        ({"ingress": [{"fromEndpoints": [{"matchLabels": {"k8s:app": "api"}}]}]}, API, Says.ALLOWS),
        ({"ingress": [{"fromEndpoints": [{"matchLabels": {"app": "api"}}]}]}, WEB, Says.SILENT),
        ({"ingress": [{"fromEndpoints": [{}]}]}, API, Says.ALLOWS),
        ({"ingress": [{"fromEndpoints": [{}]}]}, WEB, Says.SILENT),
        ({"ingress": [{}]}, API, Says.SILENT),
        ({"ingress": [{"fromEntities": ["cluster"]}]}, WEB, Says.ALLOWS),
        ({"ingress": [{"fromEntities": ["world"]}]}, WEB, Says.SILENT),
        ({"ingress": [{"toPorts": [{"ports": [{"port": "5432"}]}]}]}, WEB, Says.ALLOWS),
        ({"ingress": [{"toPorts": [{"ports": [{"port": "9090"}]}]}]}, WEB, Says.SILENT),
        ({"ingress": [{"toPorts": [{"ports": [{"port": "pg"}]}]}]}, WEB, Says.UNSURE),
        (
            {"ingress": [{"fromEntities": ["all"]}], "ingressDeny": [{"fromEndpoints": [{}]}]},
            API,
            Says.DENIES,
        ),
        ({"ingress": [{"fromGroups": [{}]}]}, API, Says.UNSURE),
        (
            {"ingress": [{"fromEntities": ["host"]}], "enableDefaultDeny": {"ingress": False}},
            API,
            Says.NOTHING,
        ),
        ({"egress": [{}]}, API, Says.NOTHING),
        (
            {"ingress": [{"fromEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": "front"}}]}]},
            WEB,
            Says.ALLOWS,
        ),
    ],
)
def test_a_policy_of_cilium_is_read_as_cilium_reads_it(spec: JSON, peer: Peer, wanted: Says) -> None:
    assert addon_policies.says("CiliumNetworkPolicy", cilium(**spec), "Ingress", DB, peer, (5432,)) is wanted


def test_names_outside_are_not_judged_by_cilium_rules_about_names() -> None:
    policy = cilium(egress=[{"toFQDNs": [{"matchName": "api.acme.dev"}]}])
    assert addon_policies.says("CiliumNetworkPolicy", policy, "Egress", DB, OUTSIDE, ()) is Says.UNSURE
    assert addon_policies.says("CiliumNetworkPolicy", policy, "Egress", DB, API, ()) is Says.SILENT


@pytest.mark.parametrize(
    ("rules", "peer", "wanted"),
    [
        ([{"action": "Allow", "source": {"selector": "app == 'api'"}}], API, Says.ALLOWS),
        ([{"action": "Allow", "source": {"selector": "app == 'api'"}}], WEB, Says.SILENT),
        ([{"action": "Deny"}, {"action": "Allow"}], API, Says.DENIES),
        ([{"action": "Log"}, {"action": "Allow"}], API, Says.ALLOWS),
        ([{"action": "Pass"}], API, Says.UNSURE),
        ([{"action": "Allow", "source": {"namespaceSelector": "team == 'web'"}}], WEB, Says.ALLOWS),
        ([{"action": "Allow", "source": {"nets": ["10.0.0.0/8"]}}], API, Says.UNSURE),
        ([{"action": "Allow", "source": {"notSelector": "app == 'api'"}}], API, Says.UNSURE),
        ([{"action": "Allow", "protocol": "UDP"}], API, Says.SILENT),
        ([{"action": "Allow", "destination": {"ports": [5432]}}], API, Says.ALLOWS),
        ([{"action": "Allow", "destination": {"ports": [80]}}], API, Says.SILENT),
        ([{"action": "Allow", "destination": {"ports": ["1:65535"]}}], API, Says.UNSURE),
        ([], API, Says.SILENT),
    ],
)
def test_a_policy_of_calico_is_read_rule_by_rule(rules: list[JSON], peer: Peer, wanted: Says) -> None:
    assert addon_policies.says("CalicoNetworkPolicy", calico(*rules), "Ingress", DB, peer, (5432,)) is wanted


@pytest.mark.parametrize(
    ("selector", "picked"),
    [
        ("", True), ("all()", True), ("app == 'db'", True), ('app == "db" && has(tier)', True), ("app != 'db'", False),
        ("!has(tier)", False), ("tier in {'gold', 'silver'}", True), ("tier not in {'gold'}", False),
        ("app == 'db' || app == 'x'", None), ("(app == 'db')", None), ("app starts with 'd'", None),
    ],
)  # fmt: skip
def test_selectors_of_calico_are_read_or_left_alone(selector: str, picked: bool | None) -> None:
    assert addon_policies.calico_selects(selector, {"app": "db", "tier": "gold"}) is picked


def test_policies_of_other_namespaces_and_tiers_select_nobody_here() -> None:
    assert addon_policies.selects("CalicoNetworkPolicy", calico(), "shop", {"app": "db"})
    assert not addon_policies.selects("CalicoNetworkPolicy", calico(), "other", {"app": "db"})
    assert addon_policies.selects("GlobalNetworkPolicy", calico(), "other", {"app": "db"})
    assert not addon_policies.selects("GlobalNetworkPolicy", calico(tier="platform"), "other", {"app": "db"})
    assert not addon_policies.selects("CiliumNetworkPolicy", cilium(), "other", {"app": "db"})


@pytest.mark.parametrize("kind", addon_policies.KINDS)
@pytest.mark.parametrize("broken", [{}, {"spec": 1}, {"spec": {"ingress": 4, "selector": 5, "types": 6}}])
def test_policies_that_make_no_sense_deny_nothing(kind: str, broken: JSON) -> None:
    assert addon_policies.says(kind, broken, "Egress", DB, API, (1,)) not in (Says.DENIES, Says.ALLOWS)
    addon_policies.selects(kind, broken, "shop", {})


def test_what_fills_a_secret_and_whether_it_fails() -> None:
    failing: JSON = {
        "metadata": {"name": "keys", "namespace": "shop"},
        "spec": {"target": {"name": "api-keys"}, "secretStoreRef": {"name": "vault"}},
        "status": {"conditions": [{"type": "Ready", "status": "False", "reason": "SecretSyncedError"}]},
    }
    assert syncing.fills("ExternalSecret", failing) == "api-keys"
    assert syncing.store(failing) == ("SecretStore", "vault")
    found = syncing.failure("ExternalSecret", failing)
    assert found is not None and found.reason == "SecretSyncedError"
    assert syncing.failure("ExternalSecret", failing | {"status": {}}) is None


def test_who_delivers_is_read_from_labels_and_annotations() -> None:
    labels = {"helm.toolkit.fluxcd.io/name": "api", "helm.toolkit.fluxcd.io/namespace": "flux-system"}
    marks = {"argocd.argoproj.io/tracking-id": "shop-api:apps/Deployment:shop/api"}
    found = delivery.deliverers({"metadata": {"labels": labels, "annotations": marks}})
    assert [tuple(each) for each in found] == [
        ("Application", "argocd", "shop-api"), ("HelmRelease", "flux-system", "api"),
    ]  # fmt: skip
    elsewhere = {"argocd.argoproj.io/tracking-id": "team_api:apps/Deployment:shop/api"}
    assert delivery.deliverers({"metadata": {"annotations": elsewhere}})[0][1:] == ("team", "api")
    assert delivery.deliverers({}) == []


@pytest.mark.parametrize(
    ("message", "fails"),
    [
        ("Helm upgrade failed: ConfigMap is invalid", True),
        ("Helm upgrade failed: timed out waiting for the condition", False),
        ("health check failed after 5m", False),
    ],
)
def test_a_delivery_that_only_waited_in_vain_did_not_fail(message: str, fails: bool) -> None:
    ready = {"type": "Ready", "status": "False", "reason": "UpgradeFailed", "message": message}
    release: JSON = {"status": {"conditions": [ready | {"lastTransitionTime": ago(minutes=9)}]}}
    assert (delivery.failure("HelmRelease", release) is not None) is fails


def cause(kind: str, category: Category, **facts: str) -> Hypothesis:
    return Hypothesis(
        resource=ref(kind, "it"), category=category, summary="", support=Support(direct=1.0), facts=facts
    )


@pytest.mark.parametrize(
    ("blamed", "command"),
    [
        (
            cause("NetworkChaos", Category.CHAOS_EXPERIMENT),
            "kubectl -n shop annotate networkchaos.chaos-mesh.org it experiment.chaos-mesh.org/pause=true --overwrite",
        ),
        (
            cause("PodChaos", Category.CHAOS_EXPERIMENT, schedule="nightly"),
            "kubectl -n shop annotate schedules.chaos-mesh.org nightly"
            " experiment.chaos-mesh.org/pause=true --overwrite",
        ),
        (
            cause("ChaosEngine", Category.CHAOS_EXPERIMENT),
            "kubectl -n shop patch chaosengines.litmuschaos.io it --type merge"
            """ -p '{"spec":{"engineState":"stop"}}'""",
        ),
        (
            cause("ScaledObject", Category.AUTOSCALER_PAUSED, annotations="autoscaling.keda.sh/paused"),
            "kubectl -n shop annotate scaledobjects.keda.sh it autoscaling.keda.sh/paused-",
        ),
        (
            cause("ScaledObject", Category.HPA_MAXED_OUT, max_replicas="10"),
            "kubectl -n shop patch scaledobjects.keda.sh it --type merge -p '{\"spec\":{\"maxReplicaCount\":15}}'",
        ),
        (
            cause("VirtualService", Category.MESH_ROUTE),
            "kubectl -n shop edit virtualservices.networking.istio.io it",
        ),
        (
            cause("SealedSecret", Category.SECRET_NOT_SYNCED),
            "kubectl -n shop describe sealedsecrets.bitnami.com it",
        ),
        (
            cause("HelmRelease", Category.DELIVERY_FAILED),
            "kubectl -n shop describe helmreleases.helm.toolkit.fluxcd.io it",
        ),
    ],
)  # fmt: skip
def test_what_a_person_can_do_is_a_command_with_real_names(blamed: Hypothesis, command: str) -> None:
    step = addon_step(blamed)
    assert step is not None and command in step.commands and step.caveats


def test_an_experiment_is_left_to_a_person() -> None:
    step = addon_step(cause("PodChaos", Category.CHAOS_EXPERIMENT))
    assert step is not None and "For a person to decide" in step.caveats[0]
    assert addon_step(cause("Deployment", Category.CRASH)) is None


def test_kinds_of_add_ons_are_named_with_their_group() -> None:
    assert (
        commands.show(ref("IstioGateway", "g"))
        == "kubectl -n shop get gateways.networking.istio.io g -o yaml"
    )
    assert commands.show(ref("Deployment", "d")) == "kubectl -n shop get deployment d -o yaml"
    names = [(kind.plural, kind.group) for kind in KINDS.values()]
    assert len(set(names)) == len(names)
