"""Payloads to signals: what is taken, what is refused, by field, and that neighbours survive."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import FateReason, Severity, SignalStatus, SignalType
from ingest.decode import autodetect, decode_file, decode_signal
from ingest.sources import SOURCES
from ingest.sources.kubernetes import object_signals
from tests.ingest.support import START, alert, signal, webhook

NOW = START + timedelta(minutes=10)
GO_ZERO = "0001-01-01T00:00:00Z"


def parse(source: str, payload: Any) -> Any:
    return SOURCES[source].parse(payload, cluster="main", now=NOW)


def test_every_source_is_discovered() -> None:
    assert {"alertmanager", "kubernetes", "signals"} <= set(SOURCES.kinds)


def test_an_alert_becomes_a_signal() -> None:
    payload = webhook({**alert(namespace="shop", pod="api-0", container="app"), "fingerprint": "abc123"})
    (one,) = parse("alertmanager", payload).signals
    assert str(one.resource) == "Pod shop/api-0"
    assert (one.cluster, one.source, one.type) == ("main", "alertmanager", SignalType.CRASH_LOOP)
    assert (one.severity, one.fingerprint, one.ended_at) == (
        Severity.MEDIUM,
        "alertmanager:main:abc123",
        None,
    )
    assert one.started_at.microsecond == 123456
    assert one.received_at == NOW
    assert one == one.sealed()


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("A", {"namespace": "s", "deployment": "api", "pod": "kube-state-metrics-0"}, "Deployment s/api"),
        ("A", {"namespace": "s", "statefulset": "db"}, "StatefulSet s/db"),
        ("A", {"namespace": "s", "daemonset": "agent"}, "DaemonSet s/agent"),
        ("A", {"namespace": "s", "job_name": "load", "job": "kube-state-metrics"}, "Job s/load"),
        ("KubeJobFailed", {"namespace": "s", "job": "load"}, "Job s/load"),
        ("A", {"namespace": "s", "pod": "api-1", "node": "n1"}, "Pod s/api-1"),
        ("KubeNodeNotReady", {"namespace": "monitoring", "pod": "ksm-0", "node": "n1"}, "Node n1"),
        (
            "A",
            {"namespace": "m", "exported_namespace": "s", "exported_pod": "p", "pod": "ksm"},
            "Pod s/p",
        ),
        ("A", {"namespace": "s", "workload": "api", "workload_type": "deployment"}, "Deployment s/api"),
        ("A", {"namespace": "s", "service": "checkout"}, "Service s/checkout"),
        (
            "ReconciliationFailure",  # Flux: the pod is that of its controller
            {
                "kind": "HelmRelease",
                "name": "shop",
                "namespace": "flux-system",
                "exported_namespace": "web",
                "pod": "helm-controller-7d-x",
                "type": "Ready",
            },
            "HelmRelease web/shop",
        ),
        (
            "ResourceNotReady",  # kube-state-metrics on custom resources
            {
                "customresource_kind": "Kustomization",
                "name": "apps",
                "exported_namespace": "web",
                "pod": "ksm-0",
            },
            "Kustomization web/apps",
        ),
        (
            "ArgoAppNotSynced",
            {
                "name": "shop",
                "namespace": "argocd",
                "dest_namespace": "web",
                "sync_status": "OutOfSync",
                "pod": "c-0",
            },
            "Application argocd/shop",
        ),
        ("A", {"namespace": "s", "kind": "latency", "name": "p99", "pod": "api-1"}, "Pod s/api-1"),
    ],
)
def test_labels_name_the_object_and_not_its_exporter(
    name: str, labels: dict[str, str], expected: str
) -> None:
    told = alert(name)
    told["labels"] |= labels  # one of which may be called `name`
    (one,) = parse("alertmanager", webhook(told)).signals
    assert str(one.resource) == expected


def test_the_cluster_label_beats_the_default() -> None:
    (one,) = parse("alertmanager", webhook(alert(namespace="s", pod="p", cluster="eu-1"))).signals
    assert one.cluster == one.resource.cluster == "eu-1"


def test_a_resolved_alert_ends_the_series_that_it_belongs_to() -> None:
    firing, resolved = alert(namespace="s", pod="p"), alert(status="resolved", namespace="s", pod="p")
    first, second = parse("alertmanager", webhook(firing, resolved)).signals
    assert second.status is SignalStatus.RESOLVED
    assert second.ended_at is not None
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize(
    ("bad", "field", "reason"),
    [
        (alert("Watchdog"), "labels", FateReason.NO_TARGET),
        (alert(pod="api-0"), "labels.namespace", FateReason.NO_TARGET),
        (alert(namespace="s", pod="../../x"), "labels.name", FateReason.UNDECODABLE),
        (alert(namespace="S P", pod="x"), "labels.namespace", FateReason.UNDECODABLE),
        (alert(namespace="s", pod="x", cluster="a.b"), "labels.cluster", FateReason.UNDECODABLE),
        ({**alert(namespace="s", pod="x"), "startsAt": "soon"}, "startsAt", FateReason.UNDECODABLE),
        (
            {**alert(namespace="s", pod="x"), "startsAt": GO_ZERO},
            "startsAt",
            FateReason.UNDECODABLE,
        ),
        ({"labels": {"namespace": "s"}}, "labels.alertname", FateReason.UNDECODABLE),
        ({"labels": {}}, "labels.alertname", FateReason.UNDECODABLE),
        ({"labels": []}, "labels", FateReason.UNDECODABLE),
        ({"labels": "x"}, "labels", FateReason.UNDECODABLE),
        (None, "alert", FateReason.UNDECODABLE),
        (7, "alert", FateReason.UNDECODABLE),
    ],
)
def test_a_bad_alert_is_named_and_takes_no_neighbour_with_it(
    bad: Any, field: str, reason: FateReason
) -> None:
    good = alert(namespace="shop", pod="api-0")
    result = parse("alertmanager", {"alerts": [good, bad, {**good, "startsAt": "2026-03-01T13:00:00Z"}]})
    assert len(result.signals) == 2
    (refused,) = result.rejected
    assert (refused.index, refused.field, refused.reason) == (1, field, reason)
    assert json.loads(refused.raw) == bad


def test_a_payload_of_another_sort_is_refused_as_a_whole() -> None:
    payloads: list[Any] = [{}, 5, "x", {"alerts": 5}]
    for payload in payloads:
        with pytest.raises(InvalidInput):
            parse("alertmanager", payload)


def test_hostile_labels_are_cut_and_lose_control_characters() -> None:
    labels = {f"l{n:03}": "x" * 5000 for n in range(300)} | {"a\x00b": "c\x00d"}
    (one,) = parse("alertmanager", webhook(alert(namespace="s", deployment="d", **labels))).signals
    assert str(one.resource) == "Deployment s/d"
    assert len(one.labels) == 64
    assert one.labels["ab"] == "cd"
    assert len(one.labels["l000"]) == 512


def test_plain_signals_come_one_or_many_and_are_sealed_by_us() -> None:
    document = json.loads(signal().model_dump_json()) | {"id": "claimed"}
    del document["resource"]["cluster"], document["cluster"]
    result = parse("signals", [document, {**document, "extra": 1}, "x"])
    assert [one.resource.cluster for one in result.signals] == ["main"]
    assert result.signals[0].id != "claimed"
    assert [(item.index, item.field) for item in result.rejected] == [(1, "extra"), (2, "body")]


def test_a_plain_signal_about_nothing_is_refused() -> None:
    document = json.loads(signal().model_dump_json())
    no_namespace = {**document, "resource": {**document["resource"], "namespace": ""}}
    too_large = {**document, "labels": {"x": "y" * 300_000}}
    refused = parse("signals", [no_namespace, too_large]).rejected
    assert [item.field for item in refused] == ["resource.namespace", "body"]


def pod(**status: Any) -> dict[str, Any]:
    metadata = {"name": "api-0", "namespace": "shop", "creationTimestamp": "2026-03-01T11:00:00Z"}
    return {"kind": "Pod", "metadata": metadata, "status": {"phase": "Running", **status}}


def test_an_out_of_memory_kill_is_one_signal_however_often_it_is_seen() -> None:
    ended = {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-03-01T12:05:00Z"}
    status = {"name": "app", "restartCount": 4, "state": {"running": {}}, "lastState": {"terminated": ended}}
    first = object_signals(pod(containerStatuses=[status]), "main", NOW)
    again = object_signals(pod(containerStatuses=[status]), "main", NOW + timedelta(minutes=3))
    assert [one.name for one in first] == ["OOMKilled"]
    assert [one.id for one in first] == [one.id for one in again]
    assert object_signals(pod(containerStatuses=[status]), "main", NOW + timedelta(hours=2)) == []


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("CrashLoopBackOff", SignalType.CRASH_LOOP), ("ErrImagePull", SignalType.IMAGE_PULL)],
)
def test_waiting_containers_say_why(reason: str, kind: SignalType) -> None:
    status = {"name": "app", "state": {"waiting": {"reason": reason, "message": "back-off"}}}
    (one,) = object_signals(pod(containerStatuses=[status]), "main", NOW)
    assert (one.type, one.labels["container"]) == (kind, "app")


def test_an_unready_pod_counts_only_after_its_grace() -> None:
    condition = {"type": "Ready", "status": "False", "lastTransitionTime": "2026-03-01T12:00:00Z"}
    assert object_signals(pod(conditions=[condition]), "main", START + timedelta(seconds=29)) == []
    (one,) = object_signals(pod(conditions=[condition]), "main", START + timedelta(seconds=30))
    assert (one.name, one.started_at) == ("PodNotReady", START)


def test_a_node_that_is_not_ready_is_critical() -> None:
    condition = {"type": "Ready", "status": "Unknown", "lastTransitionTime": "2026-03-01T12:00:00Z"}
    node = {"kind": "Node", "metadata": {"name": "n1"}, "status": {"conditions": [condition]}}
    (one,) = object_signals(node, "main", NOW)
    assert (one.type, one.severity, str(one.resource)) == (
        SignalType.NODE_NOT_READY,
        Severity.CRITICAL,
        "Node n1",
    )


def event(reason: str, **more: Any) -> dict[str, Any]:
    about = {"kind": "Pod", "namespace": "shop", "name": "api-0", "fieldPath": "spec.containers{app}"}
    first = "2026-03-01T12:00:00Z"
    base = {"kind": "Event", "type": "Warning", "reason": reason, "firstTimestamp": first}
    return {**base, "involvedObject": about, **more}


def test_a_repeated_event_keeps_its_id() -> None:
    (first,) = object_signals(event("BackOff", count=1), "main", NOW)
    (later,) = object_signals(event("BackOff", count=50), "main", NOW)
    assert first.id == later.id
    assert (first.name, first.labels["container"]) == ("CrashLoopBackOff", "app")


def test_a_few_failed_probes_and_unknown_reasons_are_no_signals_to_a_watcher() -> None:
    assert object_signals(event("Unhealthy", count=2), "main", NOW) == []
    assert len(object_signals(event("Unhealthy", count=3), "main", NOW)) == 1
    assert object_signals(event("DNSConfigForming"), "main", NOW) == []
    assert object_signals(event("BackOff", type="Normal"), "main", NOW) == []


def test_an_event_that_people_hand_over_is_taken_whatever_its_reason() -> None:
    result = parse(
        "kubernetes", {"kind": "List", "items": [event("Strange"), event("BackOff", involvedObject={})]}
    )
    assert [one.name for one in result.signals] == ["Strange"]
    assert [item.field for item in result.rejected] == ["involvedObject"]


def test_malformed_objects_are_refused_and_not_fatal() -> None:
    result = parse(
        "kubernetes", [{"kind": "Pod", "status": "x"}, {"kind": "Pod", "metadata": 5}, {"kind": "Cat"}]
    )
    assert result.signals == []
    assert len(result.rejected) == 3


def test_a_file_may_hold_one_payload_an_array_or_one_a_line() -> None:
    one, other = webhook(alert(namespace="s", pod="a")), webhook(alert(namespace="s", pod="b"))
    for text in (json.dumps([one, other]), f"{json.dumps(one)}\n\n{json.dumps(other)}\n"):
        names = [s.resource.name for s in decode_file(text, "auto", "main", NOW).signals]
        assert names == ["a", "b"]
    assert [s.resource.name for s in decode_file(json.dumps(one), "alertmanager", "main", NOW).signals] == [
        "a"
    ]


def test_a_file_may_mix_sources_and_bad_lines() -> None:
    lines = [
        json.dumps(webhook(alert(namespace="s", pod="a"))),
        "{",
        json.dumps(event("BackOff")),
        '{"x": 1}',
    ]
    result = decode_file("\n".join(lines), "auto", "main", NOW)
    assert [one.source for one in result.signals] == ["alertmanager", "kubernetes"]
    assert sorted(item.field for item in result.rejected) == ["line", "source"]


def test_a_list_of_alerts_as_the_api_gives_them_is_recognised() -> None:
    listed = [{**alert(namespace="s", pod="a"), "status": {"state": "active"}}]
    assert autodetect(listed) == "alertmanager"
    assert decode_file(json.dumps(listed), "auto", "main", NOW).signals[0].status is SignalStatus.FIRING


def test_a_file_without_json_or_with_an_unknown_source_is_refused() -> None:
    for text, source in (("hello", "auto"), ("", "auto"), ("{}", "pigeon")):
        with pytest.raises(InvalidInput):
            decode_file(text, source, "main", NOW)


def test_messages_of_other_publishers_are_checked_and_sealed() -> None:
    bare = signal().model_copy(update={"id": "", "fingerprint": ""})
    assert decode_signal(bare.model_dump_json().encode()) == signal()
    for raw in (b"\xff\xfe", b"null", signal(namespace="").model_dump_json().encode()):
        with pytest.raises(InvalidInput):
            decode_signal(raw)
