"""The chart: rendered by Helm's engine, compared with the code, and accepted by a real API server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from cortexops.cli.rbac import manifests
from cortexops.settings import load_settings
from cortexops.settings_ingest import NatsSettings
from tests.deploy.files import ROOT, SAMPLE
from tests.deploy.helm import CHART, MISSING, RenderError, lint, of_kind, render, write
from tests.deploy.test_compose import USES
from tests.support.controlplane import ControlPlane, missing_parts
from workers.roles import ROLES
from workers.schedules import archives

needs_helm = pytest.mark.skipif(bool(MISSING), reason=MISSING)
_NO_SERVER = missing_parts()
PEOPLE = [{"id": "ana", "roles": ["oncall"], "token_sha256": "0" * 64}]
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
FULL: dict[str, Any] = {
    "settings": {"people": PEOPLE, "audit": {"retention_days": 400}},
    "auditArchive": {"enabled": True},
    "autoscaling": {"correlator": {"by": "hpa"}},
    "networkPolicy": {
        "gatewayFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}],
        "egress": [{"ports": [{"port": 5432, "protocol": "TCP"}]}],
    },
}
_OLD = {"policy/v1": "policy/v1beta1", "autoscaling/v2": "autoscaling/v2beta2"}
"""Kubernetes 1.20 has these under their earlier names, with the same fields as far as we use them."""


def without_labels(document: dict[str, Any]) -> dict[str, Any]:
    metadata = {k: v for k, v in document["metadata"].items() if k != "labels"}
    return {**document, "metadata": metadata}


def containers(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    pods = {n: d for kind in ("Deployment", "Job") for n, d in of_kind(documents, kind).items()}
    return {name: one for name, d in pods.items() for one in d["spec"]["template"]["spec"]["containers"]}


def environment(container: dict[str, Any]) -> dict[str, str]:
    """As the pod would have it; secrets are filled with samples."""
    found = {}
    for variable in container["env"]:
        name = variable["name"]
        sample = "nats://u:p@nats:4222" if name == "CORTEXOPS_NATS__URL" else SAMPLE
        found[name] = variable.get("value", sample)
    return found


def test_the_rules_in_the_chart_are_those_that_the_code_declares() -> None:
    for identity, role in (("investigator", 0), ("remediator", 2)):
        documents = list(yaml.safe_load_all(manifests(None, "cortexops/cortexops")))
        rules = yaml.safe_load((CHART / f"files/{identity}-rules.yaml").read_text("utf-8"))
        assert rules == documents[role]["rules"], "run: PYTHONPATH=. python deploy/helm/update_rules.py"


def test_every_value_is_explained() -> None:
    lines = (CHART / "values.yaml").read_text("utf-8").splitlines()
    plain = {"nodeSelector", "tolerations", "affinity"}
    for before, line in pairwise(lines):
        found = re.match(r"^([a-zA-Z]+):", line)
        if found and found[1] not in plain and not before.startswith("#"):
            following = lines[lines.index(line) + 1]
            assert following.strip().startswith("#"), f"{found[1]} has no comment"


def test_the_chart_is_of_this_version_and_divides_the_stream_as_the_settings_do() -> None:
    import cortexops

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == cortexops.__version__
    assert VALUES["settings"]["nats"]["partitions"] == NatsSettings().partitions
    assert set(VALUES["roles"]) == set(ROLES)


@needs_helm
def test_helm_finds_nothing_to_complain_about() -> None:
    assert lint() == []


@needs_helm
def test_a_release_without_a_clusters_name_is_refused() -> None:
    with pytest.raises(RenderError, match="clusterName is required"):
        render(clusterName="")


@needs_helm
@pytest.mark.parametrize("namespace", ["", "shop"])
def test_the_two_identities_may_do_what_cortexops_rbac_prints_and_nothing_else(namespace: str) -> None:
    rendered = render(rbac={"namespace": namespace})
    wanted = list(yaml.safe_load_all(manifests(namespace or None, "cortexops/cortexops")))
    assert [without_labels(d) for d in rendered if "rbac" in d["apiVersion"]] == wanted
    assert set(of_kind(rendered, "ServiceAccount")) == {"cortexops-investigator", "cortexops-remediator"}
    assert not [d for d in render(rbac={"create": False}) if "rbac" in d["apiVersion"]]


@needs_helm
def test_there_is_one_deployment_for_each_role_with_its_own_identity() -> None:
    deployments = of_kind(render(), "Deployment")
    assert set(deployments) == {f"cortexops-{role}" for role in ROLES}
    identities = {}
    for name, deployment in deployments.items():
        pod = deployment["spec"]["template"]["spec"]
        assert pod["containers"][0]["args"] == [name.removeprefix("cortexops-")]
        assert pod["automountServiceAccountToken"] is ("serviceAccountName" in pod)
        identities[name.removeprefix("cortexops-")] = pod.get("serviceAccountName", "")
    assert {role for role, who in identities.items() if who == "cortexops-remediator"} == {"remediator"}
    readers = {role for role, who in identities.items() if who == "cortexops-investigator"}
    assert readers == {"gateway", "correlator", "investigator"}


@needs_helm
@pytest.mark.parametrize("role", sorted(ROLES))
def test_the_settings_of_a_pod_are_accepted_and_say_who_it_is(
    role: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rendered = render(**FULL)
    for key in [key for key in os.environ if key.startswith("CORTEXOPS_")]:
        monkeypatch.delenv(key)
    given = environment(containers(rendered)[f"cortexops-{role}"])
    file = tmp_path / "settings.yaml"
    file.write_text(of_kind(rendered, "ConfigMap")["cortexops"]["data"]["settings.yaml"], "utf-8")
    for key, value in {**given, "CORTEXOPS_CONFIG": str(file)}.items():
        monkeypatch.setenv(key, value)
    settings = load_settings()
    assert settings.nats.replicas == 3
    if role in ("gateway", "correlator", "investigator"):
        assert str(settings.cluster("eu-1").kubeconfig) == "/etc/cortexops/kubeconfig"
        assert settings.cluster("eu-1").write_kubeconfig is None
    elif role == "remediator":
        assert settings.cluster("eu-1").kubeconfig is None
        assert str(settings.cluster("eu-1").write_kubeconfig) == "/etc/cortexops/kubeconfig"
    else:
        assert not settings.clusters


@needs_helm
@pytest.mark.parametrize("role", sorted(USES))
def test_a_role_is_given_the_secrets_that_it_uses_and_no_others(role: str) -> None:
    container = containers(render())[f"cortexops-{role}"]
    given = {v["name"]: v["valueFrom"]["secretKeyRef"] for v in container["env"] if "valueFrom" in v}
    engines = {name.removeprefix("CORTEXOPS_").split("__")[0] for name in given}
    assert engines & {"NATS", "POSTGRES", "POLICY", "MEMORY", "TEMPORAL"} == USES[role]
    assert {ref["name"] for ref in given.values()} == {"cortexops"}
    assert all(ref["key"] != "postgres-owner-dsn" for ref in given.values())


@needs_helm
def test_no_secret_is_made_and_none_stands_in_the_settings() -> None:
    rendered = render(**FULL)
    assert not of_kind(rendered, "Secret")
    assert not re.search(
        r"password|token:|dsn|api_key", of_kind(rendered, "ConfigMap")["cortexops"]["data"]["settings.yaml"]
    )


@needs_helm
def test_pods_are_confined_and_probed() -> None:
    rendered = render()
    for name, container in containers(rendered).items():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert container["resources"]["limits"]["memory"]
    for kind in ("Deployment", "Job"):
        for found in of_kind(rendered, kind).values():
            security = found["spec"]["template"]["spec"]["securityContext"]
            assert security["runAsNonRoot"]
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    for role in ROLES:
        container = containers(rendered)[f"cortexops-{role}"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
        asked = container["readinessProbe"]
        port = container["ports"][0]["containerPort"]
        if "httpGet" in asked:
            assert asked["httpGet"]["path"] == "/debug/healthz"
        else:  # asks the same address, which its default names
            assert asked["exec"]["command"] == ["python", "-m", "workers.probe"]
            assert f":{port}/debug/healthz" in (ROOT / "workers/probe.py").read_text("utf-8")


@needs_helm
@pytest.mark.parametrize(("partitions", "most"), [(8, 8), (3, 3), (64, 20)])
def test_there_are_never_more_correlators_than_partitions(partitions: int, most: int) -> None:
    settings = {"nats": {"partitions": partitions}}
    for by in ("keda", "hpa"):
        scaling = {"correlator": {"by": by, "max": 20 if partitions == 64 else 8}}
        rendered = render(settings=settings, autoscaling=scaling)
        deployment = of_kind(rendered, "Deployment")["cortexops-correlator"]
        assert "replicas" not in deployment["spec"], "who scales it decides"
        if by == "keda":
            found = of_kind(rendered, "ScaledObject")["cortexops-correlator"]["spec"]
            assert found["maxReplicaCount"] == most
            assert found["minReplicaCount"] >= 1
            assert found["triggers"][0]["metadata"]["query"] == "max(cortexops_stream_backlog)"
        else:
            found = of_kind(rendered, "HorizontalPodAutoscaler")["cortexops-correlator"]["spec"]
            assert found["maxReplicas"] == most
            assert [metric["type"] for metric in found["metrics"]] == ["External"]
    fixed = render(settings=settings, roles={"correlator": {"replicas": 99}})
    assert of_kind(fixed, "Deployment")["cortexops-correlator"]["spec"]["replicas"] == partitions
    with pytest.raises(RenderError, match="none, keda or hpa"):
        render(autoscaling={"correlator": {"by": "magic"}})


@needs_helm
def test_the_migration_runs_before_everything_else_and_alone_has_the_owners_password() -> None:
    job = of_kind(render(), "Job")["cortexops-migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (variable,) = job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert variable["valueFrom"]["secretKeyRef"]["key"] == "postgres-owner-dsn"


ARCHIVING: dict[str, Any] = {"settings": {"audit": {"retention_days": 400}}}


def archive_of(documents: list[dict[str, Any]], role: str = "orchestrator") -> list[dict[str, Any]]:
    pod = of_kind(documents, "Deployment")[f"cortexops-{role}"]["spec"]["template"]["spec"]
    return [volume for volume in pod["volumes"] if volume["name"] == "archive"]


@needs_helm
def test_archives_of_the_audit_trail_go_to_a_volume_that_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rendered = render(auditArchive={"enabled": True}, **ARCHIVING)
    (claim,) = of_kind(rendered, "PersistentVolumeClaim").values()
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "10Gi"}},
    }
    name = claim["metadata"]["name"]
    assert archive_of(rendered) == [{"name": "archive", "persistentVolumeClaim": {"claimName": name}}]
    container = containers(rendered)["cortexops-orchestrator"]
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "archive"]
    for key in [key for key in os.environ if key.startswith("CORTEXOPS_")]:
        monkeypatch.delenv(key)
    file = tmp_path / "settings.yaml"
    file.write_text(of_kind(rendered, "ConfigMap")["cortexops"]["data"]["settings.yaml"], "utf-8")
    for key, value in {**environment(container), "CORTEXOPS_CONFIG": str(file)}.items():
        monkeypatch.setenv(key, value)
    audit = load_settings().audit
    assert archives(audit), "the schedule is made"
    assert str(audit.archive_path) == mount["mountPath"]
    for role in ROLES:
        if role != "orchestrator":
            assert not archive_of(rendered, role)


@needs_helm
def test_archives_may_go_to_a_volume_that_is_there_already_and_nothing_is_mounted_unasked() -> None:
    given = render(auditArchive={"enabled": True, "existingClaim": "books"}, **ARCHIVING)
    assert archive_of(given) == [{"name": "archive", "persistentVolumeClaim": {"claimName": "books"}}]
    files = {"nfs": {"server": "files", "path": "/audit"}}
    other = render(auditArchive={"enabled": True, "volume": files}, **ARCHIVING)
    assert archive_of(other) == [{"name": "archive", **files}]
    for rendered in (given, other, render(**ARCHIVING)):
        assert not of_kind(rendered, "PersistentVolumeClaim")
    plain = render(**ARCHIVING)
    assert not archive_of(plain)
    assert "CORTEXOPS_AUDIT__ARCHIVE_PATH" not in environment(containers(plain)["cortexops-orchestrator"])


@needs_helm
@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"settings": {}}, "retention_days has to say"),
        ({"auditArchive": {"volume": {"emptyDir": {}}}}, "would be lost with their pod"),
        ({"auditArchive": {"existingClaim": "x", "volume": {"nfs": {}}}}, "not both"),
        ({"auditArchive": {"claim": {"accessModes": ["ReadWriteOnce"]}}}, "needs ReadWriteMany"),
    ],
)
def test_a_volume_on_which_archives_would_get_lost_is_refused(values: dict[str, Any], says: str) -> None:
    asked = {**ARCHIVING, **values}
    asked["auditArchive"] = {"enabled": True, **values.get("auditArchive", {})}
    with pytest.raises(RenderError, match=says):
        render(**asked)


@needs_helm
def test_nobody_reaches_a_pod_but_through_its_policy() -> None:
    rendered = render(**FULL)
    policies = of_kind(rendered, "NetworkPolicy")
    assert set(policies) == {f"cortexops-{role}" for role in ROLES}
    for role in ROLES:
        policy = policies[f"cortexops-{role}"]["spec"]
        pod = of_kind(rendered, "Deployment")[f"cortexops-{role}"]["spec"]["template"]
        assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert (
            policy["ingress"][0]["ports"][0]["port"]
            == pod["spec"]["containers"][0]["ports"][0]["containerPort"]
        )
    budgets = of_kind(rendered, "PodDisruptionBudget")
    assert set(budgets) == set(policies)
    assert "cortexops-console" not in of_kind(
        render(roles={"console": {"replicas": 1}}), "PodDisruptionBudget"
    )


@needs_helm
def test_the_monitors_name_their_jobs_as_the_alerts_expect() -> None:
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text("utf-8")
    monitors = of_kind(render(podMonitor={"enabled": True}), "PodMonitor")
    for role in ROLES:
        endpoint = monitors[f"cortexops-{role}"]["spec"]["podMetricsEndpoints"][0]
        assert f'absent(up{{job="{endpoint["relabelings"][0]["replacement"]}"}})' in rules
        assert ("authorization" in endpoint) is (role not in ("gateway", "console"))


@needs_helm
@pytest.mark.realcluster
@pytest.mark.skipif(bool(_NO_SERVER), reason=_NO_SERVER or "")
def test_a_real_api_server_accepts_every_object(tmp_path: Path, control_plane: ControlPlane) -> None:
    def kubectl(*arguments: str) -> None:
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "kubectl"),
                "--kubeconfig",
                control_plane.kubeconfig(),
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0 or "already exists" in done.stderr, done.stderr

    kubectl("create", "namespace", "helm-test")
    documents = [
        {**d, "apiVersion": _OLD.get(d["apiVersion"], d["apiVersion"])}
        for d in render(namespace="helm-test", **FULL)
    ]
    assert len(documents) >= 30
    file = write(documents, tmp_path / "release.yaml")
    kubectl("apply", "--dry-run=server", "--namespace", "helm-test", "--validate=true", "-f", str(file))
