"""Each sender's own ways: what fires, what ends, what is ignored, what is refused and by which name."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import FateReason, Severity, SignalStatus, SignalType
from ingest.decode import decode_signal, split_documents
from ingest.source import IgnoreReason
from ingest.sources import SOURCES
from tests.unit.sources import payloads
from tests.unit.sources.payloads import NOW, one, parse, refusal


def ignored(source: str, payload: Any) -> IgnoreReason:
    result = parse(source, payload)
    assert not result.signals
    assert not result.rejected
    (item,) = result.ignored
    return item.reason


# -- alertmanager and grafana --------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["alertmanager", "grafana"])
@pytest.mark.parametrize("status", ["pending", "", 5, ["firing"], "FIRING"])
def test_an_unknown_status_is_named_and_does_not_fire(source: str, status: Any) -> None:
    payload = payloads.FIRING[source]()
    payload["alerts"][0]["status"] = status
    assert refusal(source, payload).field == "status"


def test_prometheus_own_alerts_end_when_their_end_is_past() -> None:
    bare = {key: value for key, value in payloads.prometheus_alert().items() if key != "status"}
    assert one("alertmanager", [{**bare, "endsAt": "2026-03-01T12:14:00Z"}]).status is SignalStatus.FIRING
    assert one("alertmanager", [{**bare, "endsAt": "2026-03-01T12:09:00Z"}]).status is SignalStatus.RESOLVED


def test_silenced_alerts_are_ignored() -> None:
    alert = payloads.prometheus_alert() | {"status": {"state": "suppressed", "silencedBy": ["x"]}}
    assert ignored("alertmanager", [alert]) is IgnoreReason.SILENCED


def test_legacy_grafana_alerting_is_refused_by_name() -> None:
    legacy = {"title": "x", "ruleId": 1, "ruleName": "x", "state": "alerting", "evalMatches": []}
    with pytest.raises(InvalidInput, match="legacy"):
        parse("grafana", legacy)


def test_grafanas_troubles_with_itself_are_ignored() -> None:
    payload = payloads.grafana()
    payload["alerts"][0]["labels"]["alertname"] = "DatasourceNoData"
    assert ignored("grafana", payload) is IgnoreReason.NO_DATA


# -- pagerduty -----------------------------------------------------------------------------------------


def test_a_pagerduty_incident_says_where_it_came_from() -> None:
    signal = one("pagerduty", payloads.pagerduty())
    assert signal.resource.key == "main:production:Deployment:api"
    assert (signal.name, signal.type) == ("High memory usage on api-deployment", SignalType.MEMORY_HIGH)
    assert signal.severity is Severity.CRITICAL
    assert signal.fingerprint == "pagerduty:main:PGR0VU2"
    assert signal.labels == {
        "namespace": "production",
        "resource": "deployment/api",
        "pagerduty_incident": "PGR0VU2",
        "pagerduty_service": "API Service",
        "pagerduty_urgency": "high",
        "pagerduty_url": "https://acme.pagerduty.com/incidents/PGR0VU2",
    }


@pytest.mark.parametrize(
    ("number", "resource"), [(1, "Deployment production/api"), (2, "StatefulSet production/postgres")]
)
def test_the_bodies_of_the_tutorial_fire(number: int, resource: str) -> None:
    signal = one("pagerduty", payloads.pagerduty_tutorial(number))
    assert str(signal.resource) == resource
    assert signal.severity is Severity.HIGH
    assert signal.labels["pagerduty_incident"] == f"TEST00{number}"


def test_without_a_namespace_pagerduty_means_the_default_one() -> None:
    payload = payloads.pagerduty_tutorial()
    del payload["event"]["incident"]["custom_details"]["namespace"]
    assert one("pagerduty", payload).resource.namespace == "default"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("incident.acknowledged", IgnoreReason.ACKNOWLEDGED),
        ("incident.escalated", IgnoreReason.UPDATE),
        ("incident.priority_updated", IgnoreReason.UPDATE),
        ("service.updated", IgnoreReason.UPDATE),
        ("pagey.ping", IgnoreReason.PING),
    ],
)
def test_other_events_of_pagerduty_are_ignored_with_a_reason(kind: str, reason: IgnoreReason) -> None:
    assert ignored("pagerduty", payloads.pagerduty(kind)) is reason


def test_a_reopened_incident_fires_anew() -> None:
    signal = one("pagerduty", payloads.pagerduty("incident.reopened"))
    assert signal.status is SignalStatus.FIRING
    assert signal.started_at == NOW.replace(minute=6)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"event_type": "incident.exploded"}, "event.event_type"),
        ({"event_type": None}, "event.event_type"),
        ({"data": {}}, "event.data.id"),
        ({"data": {"id": "P1"}}, "event.data.custom_details"),
        ({"data": {"id": "P1", "custom_details": []}}, "event.data.custom_details"),
        (
            {"data": {"id": "P1", "custom_details": {"resource": "api/"}}},
            "event.data.custom_details.resource",
        ),
        (
            {"data": {"id": "P1", "custom_details": {"resource": "deploy/A B"}}},
            "event.data.custom_details.resource.name",
        ),
        ({"occurred_at": "soon"}, "event.occurred_at"),
    ],
)
def test_what_is_wrong_with_a_pagerduty_event_is_named(change: dict[str, Any], field: str) -> None:
    payload = payloads.pagerduty()
    payload["event"] |= change
    assert refusal("pagerduty", payload).field == field


def test_events_of_programs_fire_and_end_under_their_dedup_key() -> None:
    firing = one("pagerduty", payloads.pagerduty_event())
    ended = one("pagerduty", payloads.pagerduty_event("resolve"))
    assert str(firing.resource) == "Deployment shop/checkout"
    assert (firing.name, firing.severity) == ("HighLatency", Severity.HIGH)
    assert firing.fingerprint == ended.fingerprint == "pagerduty:main:srv01/HTTP"
    assert ignored("pagerduty", payloads.pagerduty_event("acknowledge")) is IgnoreReason.ACKNOWLEDGED
    assert refusal("pagerduty", payloads.pagerduty_event("explode")).field == "event_action"


def test_without_a_dedup_key_prose_takes_no_part_in_the_fingerprint() -> None:
    event = payloads.pagerduty_event()
    del event["dedup_key"]
    other = {**event, "payload": {**event["payload"], "summary": "Latency is 3 s"}}
    assert one("pagerduty", event).fingerprint == one("pagerduty", other).fingerprint


def test_a_routing_key_is_not_kept_with_what_is_parked() -> None:
    event = payloads.pagerduty_event()
    del event["payload"]
    refused = refusal("pagerduty", event)
    assert b"R0123456789" not in refused.raw
    assert (refused.field, refused.reason) == ("payload.custom_details", FateReason.NO_TARGET)


def test_webhooks_of_version_2_are_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="version 3"):
        parse("pagerduty", {"messages": [{"event": "incident.trigger"}]})


# -- datadog -------------------------------------------------------------------------------------------


def test_a_datadog_alert_is_about_what_its_scope_and_tags_name() -> None:
    signal = one("datadog", payloads.datadog())
    assert signal.resource.key == "eu-1:shop:Pod:api-7d4b9c6f5-x2x7q"
    assert (signal.name, signal.severity) == ("Container restarts", Severity.HIGH)


@pytest.mark.parametrize(
    "tags", [["kube_namespace:shop", "kube_deployment:api"], "kube_namespace:shop, kube_deployment:api"]
)
def test_tags_come_as_a_list_or_as_text(tags: Any) -> None:
    payload = payloads.datadog() | {"tags": tags, "alert_scope": ""}
    assert str(one("datadog", payload).resource) == "Deployment shop/api"


def test_two_groups_of_one_monitor_are_two_series() -> None:
    first, second = payloads.datadog(), payloads.datadog()
    second["alert_scope"] = "kube_namespace:shop,pod_name:api-7d4b9c6f5-aaaaa"
    for payload in (first, second):
        payload["aggreg_key"] = "$AGGREG_KEY"  # a variable that Datadog did not fill in
    assert one("datadog", first).fingerprint != one("datadog", second).fingerprint


@pytest.mark.parametrize("transition", ["Triggered", "Re-Triggered", "Warn", "Renotify"])
def test_what_fires_at_datadog(transition: str) -> None:
    assert one("datadog", payloads.datadog(transition)).status is SignalStatus.FIRING


def test_no_data_is_ignored_and_an_unknown_transition_named() -> None:
    assert ignored("datadog", payloads.datadog("No Data")) is IgnoreReason.NO_DATA
    assert refusal("datadog", payloads.datadog("Exploded")).field == "alert_transition"
    assert refusal("datadog", payloads.datadog() | {"date": "soon"}).field == "date"
    assert refusal("datadog", payloads.datadog() | {"tags": 5}).field == "tags"
    nameless = payloads.datadog() | {"aggreg_key": "", "alert_id": None}
    assert refusal("datadog", nameless).field == "aggreg_key"


# -- cloudwatch ----------------------------------------------------------------------------------------


def test_an_alarm_is_about_the_object_of_its_dimensions() -> None:
    signal = one("cloudwatch", payloads.cloudwatch())
    assert signal.resource.key == "eu-1:shop:Deployment:api"
    assert (signal.name, signal.severity) == ("pod-memory-high", Severity.CRITICAL)
    assert signal.summary.startswith("Threshold Crossed")


@pytest.mark.parametrize(
    ("dimensions", "resource"),
    [
        ({"Namespace": "s", "PodName": "api-7d4b9c6f5-x2x7q"}, "Pod s/api-7d4b9c6f5-x2x7q"),
        ({"Namespace": "s", "PodName": "db-0"}, "Pod s/db-0"),
        (
            {"Namespace": "s", "PodName": "api", "FullPodName": "api-7d4b9c6f5-x2x7q"},
            "Pod s/api-7d4b9c6f5-x2x7q",
        ),
        ({"Namespace": "s", "Service": "web"}, "Service s/web"),
        ({"NodeName": "ip-10-0-0-1.ec2.internal", "InstanceId": "i-1"}, "Node ip-10-0-0-1.ec2.internal"),
    ],
)
def test_dimensions_of_container_insights_name_objects(dimensions: dict[str, str], resource: str) -> None:
    alarm = payloads.alarm()
    alarm["Trigger"]["Dimensions"] = [{"name": name, "value": value} for name, value in dimensions.items()]
    assert str(one("cloudwatch", alarm).resource) == resource


def test_an_alarm_on_an_expression_is_about_its_first_metric() -> None:
    alarm = payloads.alarm()
    metric = {"Dimensions": alarm["Trigger"].pop("Dimensions"), "MetricName": "m"}
    alarm["Trigger"]["Metrics"] = [
        {"Id": "e1", "Expression": "m1/2"},
        {"Id": "m1", "MetricStat": {"Metric": metric}},
    ]
    assert one("cloudwatch", alarm).resource.name == "api"


def test_a_confirmation_is_kept_for_a_person_and_its_address_stays_out_of_the_log() -> None:
    (item,) = parse("cloudwatch", payloads.subscription()).ignored
    assert item.reason is IgnoreReason.SUBSCRIPTION
    assert "2336412f37f" not in item.detail
    assert json.loads(item.raw) == payloads.subscription()
    elsewhere = payloads.subscription() | {
        "SubscribeURL": "https://sns.eu-west-1.amazonaws.com.evil.example/"
    }
    (item,) = parse("cloudwatch", elsewhere).ignored
    assert "do not open" in item.detail


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"Message": "hello"}, "Message"),
        ({"Message": "[" * 50_000}, "Message"),
        ({"Message": '{"x": 1}'}, "Message.AlarmName"),
        ({"Message": 5}, "Message"),
        ({"Type": "Riddle"}, "Type"),
        ({"Message": json.dumps(payloads.alarm("MAYBE"))}, "Message.NewStateValue"),
        ({"Message": json.dumps(payloads.alarm() | {"Trigger": {}})}, "Message.Trigger.Dimensions"),
        ({"Message": json.dumps(payloads.alarm() | {"StateChangeTime": None})}, "Message.StateChangeTime"),
    ],
)
def test_what_is_wrong_with_a_message_of_sns_is_named(change: dict[str, Any], field: str) -> None:
    assert refusal("cloudwatch", payloads.cloudwatch() | change).field == field


def test_insufficient_data_is_ignored() -> None:
    assert ignored("cloudwatch", payloads.cloudwatch("INSUFFICIENT_DATA")) is IgnoreReason.NO_DATA


# -- opsgenie ------------------------------------------------------------------------------------------


def test_an_opsgenie_alert_is_about_the_object_of_its_tags() -> None:
    signal = one("opsgenie", payloads.opsgenie())
    assert signal.resource.key == "eu-1:db:StatefulSet:postgres"
    assert (signal.severity, signal.fingerprint) == (Severity.CRITICAL, "opsgenie:eu-1:postgres-down")
    assert signal.labels["runbook"] == "https://runbooks.example/db"


def test_the_entity_names_the_object_where_nothing_else_does() -> None:
    payload = payloads.opsgenie()
    payload["alert"] |= {"tags": [], "entity": "deploy/shop/api"}
    assert str(one("opsgenie", payload).resource) == "Deployment shop/api"
    payload["alert"]["entity"] = "https://example.com/a"
    assert refusal("opsgenie", payload).reason is FateReason.NO_TARGET


def test_other_actions_of_opsgenie_are_ignored_and_unknown_ones_named() -> None:
    assert ignored("opsgenie", payloads.opsgenie("Acknowledge")) is IgnoreReason.ACKNOWLEDGED
    assert ignored("opsgenie", payloads.opsgenie("AddNote")) is IgnoreReason.UPDATE
    assert one("opsgenie", payloads.opsgenie("Delete")).status is SignalStatus.RESOLVED
    assert refusal("opsgenie", payloads.opsgenie("Explode")).field == "action"


# -- cloudevents ---------------------------------------------------------------------------------------


def test_an_event_may_carry_a_plain_object() -> None:
    signal = one("cloudevents", payloads.cloudevent())
    assert signal.resource.key == "eu-1:shop:Deployment:api"
    assert (signal.source, signal.name, signal.severity) == ("cloudevents", "ProbeFailed", Severity.HIGH)


def test_an_event_may_carry_a_signal_or_another_sources_payload() -> None:
    assert one("cloudevents", payloads.cloudevent(data=payloads.document())).source == "prober"
    assert one("cloudevents", payloads.cloudevent(data=payloads.alertmanager())).source == "alertmanager"
    assert one("cloudevents", payloads.cloudevent(data=payloads.kubernetes_event())).source == "kubernetes"
    coded = base64.b64encode(json.dumps(payloads.opsgenie()).encode()).decode()
    event = {key: value for key, value in payloads.cloudevent().items() if key != "data"}
    assert one("cloudevents", event | {"data_base64": coded}).source == "opsgenie"


def test_a_batch_counts_on_through_the_payloads_of_its_events() -> None:
    two = payloads.alertmanager()
    two["alerts"].append("x")
    batch = [payloads.cloudevent(data=two), payloads.cloudevent(specversion="0.3"), payloads.cloudevent()]
    result = parse("cloudevents", batch)
    assert len(result.signals) == 2
    assert [(item.index, item.field) for item in result.rejected] == [(1, "alert"), (2, "specversion")]


def test_an_event_within_an_event_is_not_opened() -> None:
    inner = payloads.cloudevent()
    for _ in range(50):
        inner = payloads.cloudevent(data=inner)
    assert refusal("cloudevents", inner).reason is FateReason.NO_TARGET


def test_in_binary_mode_headers_carry_the_attributes() -> None:
    source: Any = SOURCES["cloudevents"]
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/p",
        "ce-type": "probe",
        "ce-cluster": "eu%2D1",
    }
    event = source.assemble(headers, {"resource": "deploy/shop/api", "status": "firing"})
    signal = one("cloudevents", event)
    assert (signal.cluster, signal.name) == ("eu-1", "probe")
    assert source.assemble({"content-type": "application/json"}, {"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"specversion": "2"}, "specversion"),
        ({"id": ""}, "id"),
        ({"data": "}"}, "data"),
        ({"data": 5}, "data"),
        ({"data": {"status": "burning", "resource": "deploy/s/a"}}, "data.status"),
        ({"data": {"resource": {"kind": "Deployment", "name": "a"}}}, "data.resource.namespace"),
        ({"time": "soon"}, "time"),
        ({"cluster": "a b"}, "cluster"),
    ],
)
def test_what_is_wrong_with_an_event_is_named(change: dict[str, Any], field: str) -> None:
    assert refusal("cloudevents", payloads.cloudevent(**change)).field == field


# -- documents, posted or from the stream --------------------------------------------------------------


def test_a_document_may_name_its_object_in_one_word() -> None:
    document = payloads.document() | {"resource": "sts/shop/db"}
    assert str(one("signals", document).resource) == "StatefulSet shop/db"
    assert refusal("signals", document | {"resource": "db"}).field == "resource"
    assert refusal("signals", document | {"resource": 5}).field == "resource"


def test_any_program_may_leave_out_what_we_can_find_out() -> None:
    document = payloads.document() | {"resource": "deployment/shop/api", "name": "ApiOOMKilled"}
    del document["source"], document["schema"], document["labels"]
    signal = decode_signal(json.dumps(document).encode())
    assert (signal.source, signal.type) == ("signals", SignalType.OOM_KILL)
    assert signal == signal.sealed()
    assert decode_signal(json.dumps(document).encode()) == signal


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"cluster": None}, "cluster"),
        ({"cluster": "a b"}, "cluster"),
        ({"started_at": "12:00"}, "started_at"),
        ({"status": "burning"}, "status"),
        ({"resource": "x"}, "resource"),
        ({"labels": 5}, "labels"),
        ({"labels": {"a": {}}}, "labels.a"),
        ({"schema": "other/v2"}, "schema"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_wrong_with_a_message_of_the_stream_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_signal(json.dumps(payloads.document() | change).encode())
    assert caught.value.field == field


def test_control_characters_of_other_publishers_are_removed() -> None:
    document = payloads.document() | {
        "name": "a\x00b\u202ec",
        "summary": "x\x1b[31m\ny",
        "labels": {"k": "v\u0085"},
    }
    signal = decode_signal(json.dumps(document).encode())
    assert (signal.name, signal.summary, signal.labels) == ("abc", "x[31m\ny", {"k": "v"})


@pytest.mark.parametrize(
    "body",
    [
        b'"\xed\xa0\x80"',
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b'{"a":1e999}',
        b'{"a":' + b"1" * 5000 + b"}",
        b"NaN",
    ],
)
def test_what_is_no_json_is_refused_whatever_is_wrong_with_it(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        split_documents(body)
    with pytest.raises(InvalidInput):
        decode_signal(body)


def test_a_byte_order_mark_does_no_harm() -> None:
    assert split_documents(b'\xef\xbb\xbf{"a": 1}') == ([{"a": 1}], [])


def test_more_items_than_a_body_may_hold_are_refused_at_once() -> None:
    with pytest.raises(InvalidInput, match="100000"):
        parse("alertmanager", {"alerts": [1] * 100_001})
    with pytest.raises(InvalidInput, match="100000"):
        split_documents(b"1\n" * 100_001)
