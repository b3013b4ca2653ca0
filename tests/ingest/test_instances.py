"""Alerts that name their object by the address that was scraped: when that counts, and whose it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.exporters import Role, role_of_images, role_of_job
from cortexops.domain.kubernetes.addresses import Address, parse_address
from cortexops.domain.signal import Signal
from cortexops.domain.targets import ADDRESS, NotRead, Unclear, Unread, decide, question
from ingest.sources.alertmanager import Alertmanager
from tests.ingest.addressed import (
    AGENT_IP,
    API_IP,
    BLACKBOX_IP,
    KSM_IP,
    MYSQL_IP,
    NODE,
    NODE_IP,
    NOW,
    addressed,
    cluster,
    readings,
)
from tests.ingest.support import alert, webhook


def parsed(*alerts: dict[str, Any]) -> list[Signal]:
    result = Alertmanager().parse(webhook(*alerts), cluster="test", now=NOW)
    assert result.rejected == []
    return result.signals


def refused(one: dict[str, Any]) -> str:
    (item,) = Alertmanager().parse(webhook(one), cluster="test", now=NOW).rejected
    return f"{item.field}: {item.message} ({item.reason})"


def answer(name: str, instance: str, *, without: str = "", **labels: str) -> str:
    """The object behind such an alert in the test's cluster, or why there is none."""
    (one,) = parsed(addressed(name, instance, **labels))
    assert one.resource.kind == ADDRESS
    asked = question(one.labels, one.name, one.resource.name, one.started_at)
    assert asked is not None
    known = {**readings(cluster()), **({without: Unread(f"{without} is forbidden")} if without else {})}
    try:
        found = decide(asked, known)
    except Unclear as error:
        return f"none: {error}"
    return "/".join(filter(None, found[:3]))


# -- addresses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("10.0.3.7:9100", Address("10.0.3.7", 9100)),
        ("10.0.3.7", Address("10.0.3.7")),
        ("[FD00::8]:9100", Address("fd00::8", 9100)),
        ("fd00::8", Address("fd00::8")),
        ("fd00:0000:0000:0000:0000:0000:0000:0008:9100", Address("fd00::8", 9100)),
        ("[::ffff:10.0.3.7]:80", Address("10.0.3.7", 80)),
        ("Node-7:9100", Address("node-7", 9100)),
        ("ip-10-0-3-7.ec2.internal.:9100", Address("ip-10-0-3-7.ec2.internal", 9100)),
        ("https://Shop.example.com/healthz?x=1", Address("shop.example.com", None, "/healthz", True)),
        ("redis://user:word@cache.shop.svc:6379", Address("cache.shop.svc", 6379, "", True)),
        ("shop.example.com/healthz", Address("shop.example.com", None, "/healthz")),
    ],
)
def test_addresses_are_read_in_all_their_spellings(text: str, found: Address) -> None:
    assert parse_address(text) == found


@pytest.mark.parametrize(
    "text",
    ["", " ", "localhost:9090", "127.0.0.1:9100", "[::1]:80", "0.0.0.0:80", "169.254.1.1:80", "a b", "host:99999",
     "999.1.1.1:80", "10.0.3:80", "-x", "a_b", "x" * 600, "http://", "[fe80::1%eth0]:80", "https://[", "é.example"],
)  # fmt: skip
def test_what_means_no_certain_machine_is_no_address(text: str) -> None:
    assert parse_address(text) is None


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_none_and_a_name_of_one_reads_as_the_same(text: str) -> None:
    found = parse_address(text)
    if found is not None:
        again = parse_address(found.name)
        assert again is not None and again[:2] == found[:2]
        assert parse_address(str(found)) == again


@pytest.mark.parametrize(
    ("job", "role"),
    [
        ("node-exporter", Role.NODE), ("kube-prometheus-stack-prometheus-node-exporter", Role.NODE),
        ("node", Role.NODE), ("kubelet", Role.KUBELET), ("kubernetes-nodes-cadvisor", Role.KUBELET),
        ("kube-state-metrics", Role.OTHERS), ("monitoring/kube_state_metrics/0", Role.OTHERS),
        ("prometheus", Role.OTHERS), ("kps-kube-prometheus-stack-prometheus", Role.OTHERS),
        ("blackbox", Role.PROBER), ("mysqld-exporter", Role.EXPORTER), ("prometheus/orders", Role.ITSELF),
        ("orders-api", Role.ITSELF), ("", Role.ITSELF), ("nodejs", Role.ITSELF), ("prometheus-demo", Role.ITSELF),
    ],
)  # fmt: skip
def test_a_job_tells_of_whom_its_metrics_are(job: str, role: Role) -> None:
    assert role_of_job(job) is role


def test_an_exporter_beside_a_program_makes_no_exporter_of_it() -> None:
    assert role_of_images(["mysql:8", "prom/mysqld-exporter"]) is Role.ITSELF
    assert role_of_images(["prom/mysqld-exporter@sha256:0a", "quay.io/x/kube-rbac-proxy:1"]) is Role.EXPORTER
    assert role_of_images(["mirror.example/any:1"], ["kube-state-metrics"]) is Role.OTHERS
    assert role_of_images(["node:20"]) is Role.ITSELF


# -- whose address it is -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "instance", "labels", "found"),
    [
        ("NodeFilesystemAlmostOutOfSpace", f"{NODE_IP}:9100", {"job": "node-exporter"}, f"Node/{NODE}"),
        ("NodeDown", f"{NODE}:9100", {"job": "node"}, f"Node/{NODE}"),
        ("InstanceDown", "node-8:9100", {"job": "node"}, "Node/node-8"),
        ("InstanceDown", "[fd00::8]:9100", {}, "Node/node-8"),
        ("HighLoad", f"{NODE_IP}:9999", {}, f"Node/{NODE}"),
        # hostNetwork: the exporter's port is the node's, another pod's port is that pod's
        ("DiskFull", f"{NODE_IP}:9100", {"job": "hosts"}, f"Node/{NODE}"),
        ("EdgeErrors", f"{NODE_IP}:10254", {"job": "edge"}, "Pod/edge/edge-fghij"),
        ("NodeLoad", f"{NODE_IP}:10254", {}, f"Node/{NODE}"),
        ("AgentSaysDiskFull", f"{AGENT_IP}:9182", {"job": "windows"}, "Node/node-8"),
        ("OrdersSlow", f"{API_IP}:8080", {"job": "orders"}, "Pod/shop/api-7d9f8b6c5d-x2z4k"),
        ("MySQLDown", "10.244.1.40:9104", {"job": "mysqld-exporter"}, "Pod/shop/db-0"),
        ("OrdersSlow", "10.96.0.10:80", {}, "Service/shop/api"),
        ("OrdersSlow", "10.0.3.8:30080", {}, "Service/shop/api"),
        ("OrdersSlow", "api.shop.svc:8080", {}, "Service/shop/api"),
        ("OrdersSlow", "api.shop.svc.cluster.local:8080", {}, "Service/shop/api"),
        ("OrdersSlow", "api.shop:8080", {}, "Service/shop/api"),
        ("OrdersSlow", "api:8080", {"namespace": "shop"}, "Service/shop/api"),
        ("MySQLDown", "db-0.db.shop.svc:9104", {}, "Pod/shop/db-0"),
        ("EndpointDown", "https://shop.example.com/healthz", {"job": "blackbox"}, "Ingress/shop/shop"),
        ("EndpointDown", "https://x.apps.example.com/db/1", {"job": "blackbox"}, "Service/shop/db"),
        ("EndpointDown", "https://x.apps.example.com/dba", {"job": "blackbox"}, "Service/shop/api"),
        ("EndpointDown", "https://store.example.com/", {"job": "blackbox"}, "HTTPRoute/shop/store"),
        ("HostOutOfMemory", "localhost:9100", {"job": "node", "nodename": NODE}, f"Node/{NODE}"),
        ("PortClosed", f"{API_IP}:8080", {"job": "blackbox", "namespace": "monitoring"},
         "Pod/shop/api-7d9f8b6c5d-x2z4k"),
        ("TargetDown", f"{KSM_IP}:8080", {"job": "kube-state-metrics"}, "Pod/monitoring/ksm-0"),
    ],
)  # fmt: skip
def test_an_address_stands_for_whoever_has_it(
    name: str, instance: str, labels: dict[str, str], found: str
) -> None:
    assert answer(name, instance, **labels) == found


@pytest.mark.parametrize(
    ("instance", "labels", "why"),
    [
        (f"{KSM_IP}:8080", {"job": "metrics"}, "an exporter that tells of other objects"),
        (f"{BLACKBOX_IP}:9115", {"job": "probes"}, "an exporter that tells of other objects"),
        (f"{MYSQL_IP}:9104", {"job": "mysql"}, "an exporter that tells of other objects"),
        (f"{NODE_IP}:9104", {"job": "mysqld-exporter"}, "an exporter that tells of other objects"),
        ("kube-state-metrics.monitoring.svc:8080", {"job": "x"}, "an exporter, which tells of other objects"),
        (f"{API_IP}:8080", {"namespace": "pay"}, "the alert is about namespace pay"),
        ("10.96.0.10:80", {"namespace": "pay"}, "the alert is about namespace pay"),
        ("10.244.1.60:80", {}, "is the address of no node, pod or Service"),
        ("10.244.1.61:80", {}, "which began after the alert"),
        ("10.244.1.62:80", {}, "stands for several: Pod shop/twin-1, Pod shop/twin-2"),
        ("8.8.8.8:53", {}, "8.8.8.8 is the address of no node, pod or Service"),
        ("pay.shop.svc:80", {}, "there is no Service shop/pay"),
        ("db-9.db.shop.svc:80", {}, "there is no pod db-9 behind the Service shop/db"),
        ("api:8080", {}, "no namespace says which Service"),
        ("api:8080", {"namespace": "pay"}, "no Service in namespace pay"),
        ("https://other.example.com/", {}, "the host of no Ingress"),
        ("https://moving.example.com/", {}, "stands for several: Ingress shop/moved, HTTPRoute shop/moving"),
        ("https://a.both.example.com/", {}, "stands for several: HTTPRoute shop/x, HTTPRoute shop/y"),
        ("https://two.example.com/", {}, "stands for several: Ingress shop/a, Ingress shop/b"),
    ],
)  # fmt: skip
def test_nobody_is_named_who_may_be_innocent(instance: str, labels: dict[str, str], why: str) -> None:
    told = answer("SomethingIsSlow", instance, **labels)
    assert told.startswith("none: ") and why in told, told


@pytest.mark.parametrize(
    ("without", "instance", "labels", "told"),
    [
        ("Node", f"{NODE_IP}:9100", {"job": "node"}, "none: "),
        ("Node", f"{NODE_IP}:10254", {}, "none: "),
        ("Node", f"{API_IP}:8080", {}, "Pod/shop/api-7d9f8b6c5d-x2z4k"),
        ("Node", "api:8080", {"namespace": "shop"}, "none: "),
        ("Node", "https://shop.example.com/", {}, "Ingress/shop/shop"),
        ("Pod", f"{NODE_IP}:10254", {}, "none: "),
        ("Pod", f"{NODE_IP}:9100", {"job": "node"}, f"Node/{NODE}"),
        ("Pod", f"{API_IP}:8080", {}, "none: "),
        ("Service", "10.96.0.10:80", {}, "none: "),
        ("Service", "10.0.3.8:30080", {}, "none: "),
        ("Service", "api.shop:80", {}, "none: "),
        ("Ingress", "https://shop.example.com/", {}, "none: "),
        ("Ingress", "https://store.example.com/", {}, "none: "),
        ("HTTPRoute", "https://store.example.com/", {}, "none: "),
        ("HTTPRoute", "https://shop.example.com/", {}, "Ingress/shop/shop"),
    ],
)  # fmt: skip
def test_what_may_not_be_read_is_not_taken_to_be_absent(
    without: str, instance: str, labels: dict[str, str], told: str
) -> None:
    found = answer("SomethingIsSlow", instance, without=without, **labels)
    assert found.startswith(told), found
    assert "none" not in told or f"{without} is forbidden" in found


def test_only_the_kinds_that_decide_are_read() -> None:
    def needed(instance: str, **labels: str) -> list[str]:
        (one,) = parsed(addressed("X", instance, **labels))
        asked = question(one.labels, one.name, "", one.started_at)
        known: dict[str, Any] = {}
        while asked is not None:
            try:
                decide(asked, known)
                break
            except NotRead as need:
                known[need.kind] = readings(cluster())[need.kind]
        return list(known)

    assert needed(f"{NODE_IP}:9100", job="node-exporter") == ["Node"]
    assert needed(f"{API_IP}:8080") == ["Node", "Pod"]
    assert needed("api.shop.svc:80") == ["Service"]
    assert needed("https://shop.example.com/") == ["Node", "Ingress", "HTTPRoute"]


@given(st.permutations(cluster()), st.permutations(range(4)), st.data())
def test_neither_the_order_of_objects_nor_of_alerts_nor_repetition_matters(
    items: list[Any], order: list[int], data: st.DataObject
) -> None:
    asked = [
        question({"instance": instance, "job": job}, "X", "", datetime(2026, 3, 1, 12, tzinfo=UTC))
        for instance, job in (
            (f"{NODE_IP}:10254", ""), ("10.244.1.62:1", ""), ("https://x.apps.example.com/db", ""), (API_IP, "x"),
        )
    ]  # fmt: skip

    def told(number: int, known: Any) -> str:
        try:
            return str(decide(asked[number], known))  # type: ignore[arg-type]
        except Unclear as error:
            return str(error)

    plain = [told(number, readings(cluster())) for number in range(4)]
    mixed = readings(items)
    repeated = order + data.draw(st.lists(st.sampled_from(order), max_size=4))
    assert {number: told(number, mixed) for number in repeated} == dict(enumerate(plain))


# -- when it counts ------------------------------------------------------------------------------------


def test_the_exporters_own_address_never_wins_over_labels_that_name_the_object() -> None:
    scraped = {"instance": f"{KSM_IP}:8080", "job": "kube-state-metrics"}
    (one,) = parsed(alert("KubeDeploymentReplicasMismatch", namespace="shop", deployment="api", **scraped))
    assert str(one.resource) == "Deployment shop/api"
    (one,) = parsed(
        alert("KubePodCrashLooping", namespace="monitoring", pod="node-exporter-abcde", container="node-exporter",
              **scraped)
    )  # fmt: skip
    assert str(one.resource) == "Pod monitoring/node-exporter-abcde"
    kubelet = {"instance": f"{NODE_IP}:10250", "job": "kubelet"}
    (one,) = parsed(
        alert("KubePersistentVolumeFillingUp", namespace="shop", persistentvolumeclaim="data", **kubelet)
    )
    assert str(one.resource) == "PersistentVolumeClaim shop/data"


def test_a_node_agents_pod_and_a_probers_pod_are_not_what_they_tell_of() -> None:
    """As kube-prometheus scrapes them: with the labels of the exporter's own pod."""
    own = {"namespace": "monitoring", "pod": "node-exporter-abcde", "container": "node-exporter",
           "service": "kps-prometheus-node-exporter", "job": "node-exporter"}  # fmt: skip
    (one,) = parsed(
        alert("NodeFilesystemAlmostOutOfSpace", instance=f"{NODE_IP}:9100", mountpoint="/", **own)
    )
    assert (one.resource.kind, one.resource.name) == (ADDRESS, f"{NODE_IP}:9100")
    probe = {"namespace": "monitoring", "pod": "blackbox-exporter-0", "job": "blackbox-exporter"}
    (one,) = parsed(alert("EndpointDown", instance="https://shop.example.com/healthz", **probe))
    assert (one.resource.kind, one.resource.name) == (ADDRESS, "shop.example.com")
    (one,) = parsed(alert("BlackboxConfigBroken", instance=f"{BLACKBOX_IP}:9115", **probe))
    assert str(one.resource) == "Pod monitoring/blackbox-exporter-0"
    (one,) = parsed(alert("TargetDown", instance=f"{NODE_IP}:9100", **own))
    assert str(one.resource) == "Pod monitoring/node-exporter-abcde"


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        ({}, "labels: name no Kubernetes object"),
        ({"instance": "localhost:9090"}, "labels.instance: is no address that could be looked up"),
        ({"instance": f"{KSM_IP}:8080", "job": "kube-state-metrics"}, "the exporter (kube-state-metrics)"),
        ({"instance": f"{KSM_IP}:8080", "job": "kube-state-metrics", "namespace": "shop"}, "tells of others"),
        ({"instance": f"{BLACKBOX_IP}:9115", "job": "blackbox"}, "tells of others"),
        ({"instance": "10.1.2.3:9090", "job": "prometheus"}, "tells of others"),
        ({"instance": "10.1.2.3:80", "exported_namespace": "shop"}, "exported_namespace tells"),
        ({"instance": f"{NODE_IP}:10250", "job": "kubelet", "container": "api"}, "name a container"),
    ],
)
def test_an_alert_without_an_object_says_what_is_missing(labels: dict[str, str], why: str) -> None:
    told = refused(alert("SomethingIsSlow", **labels))
    assert why in told and told.endswith("(no_target)"), told


def test_an_instance_that_the_scrape_renamed_beats_the_exporters() -> None:
    (one,) = parsed(
        alert("X", instance="10.1.2.3:9091", exported_instance=f"{API_IP}:8080", job="pushgateway")
    )
    assert one.resource.name == f"{API_IP}:8080"


# -- names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["alert", "rule", "rulename", "title"])
def test_another_label_may_say_what_happened(label: str) -> None:
    one = alert("x", namespace="shop", deployment="api")
    del one["labels"]["alertname"]
    one["labels"][label] = "ApiDown"
    assert parsed(one)[0].name == "ApiDown"


def test_without_a_name_the_summary_says_it_and_makes_no_series() -> None:
    one = alert("x", namespace="shop", deployment="api")
    del one["labels"]["alertname"]
    one["annotations"] = {"summary": "disk is 93% full\nlook at it"}
    other = {
        **one,
        "annotations": {"summary": "disk is 97% full"},
        "labels": {**one["labels"], "severity": "critical"},
    }
    first, second = parsed(one, other)
    assert (first.name, second.name) == ("disk is 93% full", "disk is 97% full")
    assert (first.fingerprint, first.id) == (second.fingerprint, second.id)
    (elsewhere,) = parsed({**one, "labels": {**one["labels"], "deployment": "web"}})
    assert elsewhere.fingerprint != first.fingerprint


def test_without_any_name_the_error_says_where_to_put_one() -> None:
    one = alert("x", namespace="shop", deployment="api")
    del one["labels"]["alertname"]
    one["annotations"] = {}
    told = refused(one)
    assert (
        told.startswith("labels.alertname: is missing; say what happened in this label")
        and "rulename" in told
    )


def test_alerts_without_a_name_are_recognised_and_other_documents_are_not() -> None:
    reads = Alertmanager().recognises
    assert reads({"alerts": [{"labels": {"title": "X"}, "startsAt": "2026-03-01T12:00:00Z"}]})
    assert reads([{"labels": {"instance": "a:1"}, "annotations": {"summary": "X"}}])
    assert not reads({"schema": "cortexops.signal/v1", "labels": {}, "annotations": {}})
    assert not reads({"labels": {"app": "x"}, "spec": {}})


# -- series --------------------------------------------------------------------------------------------


def test_the_series_is_of_the_payload_and_not_of_what_is_found() -> None:
    (one,) = parsed(addressed("NodeDown", f"{NODE_IP}:9100", job="node"))
    assert one.fingerprint == "alertmanager:test:c4f2a9d1b7e35068"
    bare = alert("NodeDown", instance=f"{NODE_IP}:9100", job="node")
    (first,), (again,) = parsed(bare), parsed(bare)
    (other,) = parsed(alert("NodeDown", instance="10.0.3.8:9100", job="node"))
    assert first.id == again.id and first.fingerprint != other.fingerprint


def test_a_sender_cannot_claim_how_an_object_was_found() -> None:
    (one,) = parsed(alert("X", namespace="shop", deployment="api", cortexops_target="trust me"))
    assert "cortexops_target" not in one.labels
