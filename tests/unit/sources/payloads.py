"""Payloads in the senders' own shapes, and what becomes of their parts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ingest.source import ParseResult
from ingest.sources import SOURCES

NOW = datetime(2026, 3, 1, 12, 10, tzinfo=UTC)
JSON = dict[str, Any]


def parse(source: str, payload: Any, cluster: str = "main", now: datetime = NOW) -> ParseResult:
    return SOURCES[source].parse(payload, cluster=cluster, now=now)


def one(source: str, payload: Any, cluster: str = "main", now: datetime = NOW) -> Any:
    result = parse(source, payload, cluster, now)
    assert not result.rejected, result.rejected
    assert not result.ignored, result.ignored
    (signal,) = result.signals
    return signal


def refusal(source: str, payload: Any) -> Any:
    result = parse(source, payload)
    assert not result.signals
    assert not result.ignored
    (refused,) = result.rejected
    return refused


def prometheus_alert(status: str = "firing", **labels: str) -> JSON:
    return {
        "status": status,
        "labels": {"alertname": "KubePodCrashLooping", "severity": "critical", "namespace": "shop"}
        | {"pod": "api-0", "container": "app"}
        | labels,
        "annotations": {"summary": "Pod is crash looping", "description": "shop/api-0 waits"},
        "startsAt": "2026-03-01T12:00:00.123456789Z",
        "endsAt": "2026-03-01T12:05:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph?g0.expr=up",
        "fingerprint": "c8a5f1b2d3e4f5a6",
    }


def alertmanager(status: str = "firing") -> JSON:
    return {
        "version": "4",
        "groupKey": '{}:{alertname="KubePodCrashLooping"}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "cortexops",
        "groupLabels": {"alertname": "KubePodCrashLooping"},
        "commonLabels": {"severity": "critical"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": [prometheus_alert(status)],
    }


def grafana(status: str = "firing") -> JSON:
    alert = prometheus_alert(status) | {
        "silenceURL": "https://grafana.example/alerting/silence/new",
        "dashboardURL": "",
        "panelURL": "",
        "values": {"B": 22, "C": 1},
        "valueString": "[ var='B' labels={} value=22 ]",
    }
    return {
        "receiver": "cortexops",
        "status": status,
        "orgId": 1,
        "alerts": [alert],
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "https://grafana.example/",
        "version": "1",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "title": "[FIRING:1]",
        "state": "alerting",
        "message": "**Firing**",
    }


def pagerduty(kind: str = "incident.triggered") -> JSON:
    return {
        "event": {
            "id": "5ac64822-4adc-4fda-ade0-410becf0de4f",
            "event_type": kind,
            "resource_type": "incident",
            "occurred_at": "2026-03-01T12:00:05Z" if kind.endswith("triggered") else "2026-03-01T12:06:00Z",
            "agent": {"id": "PLH1HKV", "type": "user_reference", "summary": "Tenex Engineer"},
            "client": {"name": "PagerDuty"},
            "data": {
                "id": "PGR0VU2",
                "type": "incident",
                "self": "https://api.pagerduty.com/incidents/PGR0VU2",
                "html_url": "https://acme.pagerduty.com/incidents/PGR0VU2",
                "number": 2,
                "status": kind.removeprefix("incident."),
                "incident_key": "d3640fbd41094207a1c11e58e46b1662",
                "created_at": "2026-03-01T12:00:00Z",
                "title": "High memory usage on api-deployment",
                "service": {"id": "PF9KMXH", "summary": "API Service", "type": "service_reference"},
                "assignees": [],
                "priority": {"id": "PSO75BM", "type": "priority_reference", "summary": "P1"},
                "urgency": "high",
                "custom_details": {"namespace": "production", "resource": "deployment/api"},
            },
        }
    }


def pagerduty_tutorial(number: int = 1) -> JSON:
    """The two bodies with which people try the webhook out."""
    title, service, resource = {
        1: ("High memory usage on api-deployment", "API Service", "deployment/api"),
        2: ("Database cluster down - all replicas failing", "PostgreSQL", "statefulset/postgres"),
    }[number]
    return {
        "event": {
            "incident": {
                "id": f"TEST00{number}",
                "title": title,
                "service": {"name": service},
                "urgency": "high",
                "html_url": f"https://yourcompany.pagerduty.com/incidents/TEST00{number}",
                "custom_details": {"namespace": "production", "resource": resource},
            }
        }
    }


def pagerduty_event(action: str = "trigger") -> JSON:
    return {
        "routing_key": "R0123456789012345678901234567890",
        "event_action": action,
        "dedup_key": "srv01/HTTP",
        "payload": {
            "summary": "Latency is high",
            "source": "prober-3",
            "severity": "error",
            "timestamp": "2026-03-01T12:00:00.000+0000",
            "component": "checkout",
            "group": "shop",
            "class": "HighLatency",
            "custom_details": {
                "kube_namespace": "shop",
                "kube_deployment": "checkout",
                "ping time": "1500ms",
            },
        },
    }


def datadog(transition: str = "Triggered") -> JSON:
    return {
        "id": "7310582301",
        "title": "[Triggered on {pod_name:api-7d4b9c6f5-x2x7q}] Container restarts",
        "alert_title": "Container restarts",
        "body": "restarts > 3",
        "alert_transition": transition,
        "alert_type": "success" if transition == "Recovered" else "error",
        "alert_id": "1234",
        "alert_priority": "P2",
        "alert_scope": "kube_namespace:shop,pod_name:api-7d4b9c6f5-x2x7q",
        "aggreg_key": "9bd4ac313a4d1e8fae2482df7b77628",
        "tags": "env:prod,kube_cluster_name:eu-1,kube_namespace:shop,pod_name:api-7d4b9c6f5-x2x7q,monitor",
        "date": "1772366400000" if transition != "Recovered" else "1772366700000",
        "link": "https://app.datadoghq.com/monitors/1234",
        "org": {"id": "2", "name": "acme"},
    }


def alarm(state: str = "ALARM") -> JSON:
    return {
        "AlarmName": "pod-memory-high",
        "AlarmDescription": '{"severity": "critical"}',
        "AWSAccountId": "123456789012",
        "NewStateValue": state,
        "NewStateReason": "Threshold Crossed: 1 datapoint [92.1] was greater than the threshold (90.0).",
        "StateChangeTime": "2026-03-01T12:00:00.000+0000"
        if state == "ALARM"
        else "2026-03-01T12:05:00.000+0000",
        "Region": "EU (Ireland)",
        "AlarmArn": "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:pod-memory-high",
        "OldStateValue": "OK",
        "Trigger": {
            "MetricName": "pod_memory_utilization",
            "Namespace": "ContainerInsights",
            "StatisticType": "Statistic",
            "Statistic": "AVERAGE",
            "Unit": None,
            "Dimensions": [
                {"value": "eu-1", "name": "ClusterName"},
                {"value": "shop", "name": "Namespace"},
                {"value": "api", "name": "PodName"},
            ],
            "Period": 60,
            "EvaluationPeriods": 1,
            "ComparisonOperator": "GreaterThanThreshold",
            "Threshold": 90.0,
        },
    }


def cloudwatch(state: str = "ALARM") -> JSON:
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:alarms",
        "Subject": 'ALARM: "pod-memory-high" in EU (Ireland)',
        "Message": json.dumps(alarm(state)),
        "Timestamp": "2026-03-01T12:00:01.201Z",
        "SignatureVersion": "1",
        "Signature": "bm9uZQ==",
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
        "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
    }


def subscription() -> JSON:
    return {
        "Type": "SubscriptionConfirmation",
        "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        "Token": "2336412f37f",
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:alarms",
        "Message": "You have chosen to subscribe to the topic.",
        "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37f",
        "Timestamp": "2026-03-01T12:00:01.201Z",
        "SignatureVersion": "1",
        "Signature": "bm9uZQ==",
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem",
    }


def opsgenie(action: str = "Create") -> JSON:
    alert: JSON = {
        "updatedAt": 1772366700166002000,
        "tags": ["resource:statefulset/postgres", "namespace:db", "cluster:eu-1"],
        "message": "Database cluster down",
        "username": "System",
        "alertId": "052652ac-5d1c-464a-812a-7dd18bbfba8c",
        "source": "prometheus",
        "alias": "postgres-down",
        "tinyId": "23",
        "createdAt": 1772366400104,
        "userId": "daed1180-0ce8-438b-8f8e-57e1a5920a2d",
        "entity": "",
        "priority": "P1",
    }
    if action == "Create":
        alert |= {"description": "all replicas fail", "details": {"runbook": "https://runbooks.example/db"}}
    return {
        "action": action,
        "alert": alert,
        "source": {"name": "web", "type": "API"},
        "integrationId": "37c8f316-17c6-49d7-899b-9c7e540c048d",
        "integrationName": "cortexops",
    }


def document(status: str = "firing") -> JSON:
    return {
        "schema": "cortexops.signal/v1",
        "source": "prober",
        "cluster": "main",
        "status": status,
        "name": "ProbeFailed",
        "severity": "high",
        "resource": {"kind": "Deployment", "namespace": "shop", "name": "api"},
        "summary": "three probes failed",
        "labels": {"container": "app"},
        "started_at": "2026-03-01T12:00:00Z",
    }


def cloudevent(status: str = "firing", **attributes: Any) -> JSON:
    return {
        "specversion": "1.0",
        "id": f"e-{status}",
        "source": "/probers/3",
        "type": "com.example.probe",
        "time": "2026-03-01T12:00:00Z" if status == "firing" else "2026-03-01T12:05:00Z",
        "datacontenttype": "application/json",
        "data": {
            "name": "ProbeFailed",
            "status": status,
            "severity": "high",
            "resource": "deployment/shop/api",
            "cluster": "eu-1",
            "started_at": "2026-03-01T12:00:00Z",
            "summary": "three probes failed",
        },
    } | attributes


def kubernetes_event() -> JSON:
    return {
        "kind": "Event",
        "type": "Warning",
        "reason": "BackOff",
        "firstTimestamp": "2026-03-01T12:00:00Z",
        "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "api-0"},
    }


FIRING: dict[str, Callable[[], JSON]] = {
    "alertmanager": alertmanager,
    "cloudevents": cloudevent,
    "cloudwatch": cloudwatch,
    "datadog": datadog,
    "grafana": grafana,
    "opsgenie": opsgenie,
    "pagerduty": pagerduty,
    "signals": document,
}
"""A payload of each source with one signal in it."""

RESOLVED: dict[str, Callable[[], JSON]] = {
    "alertmanager": lambda: alertmanager("resolved"),
    "cloudevents": lambda: cloudevent("resolved"),
    "cloudwatch": lambda: cloudwatch("OK"),
    "datadog": lambda: datadog("Recovered"),
    "grafana": lambda: grafana("resolved"),
    "opsgenie": lambda: opsgenie("Close"),
    "pagerduty": lambda: pagerduty("incident.resolved"),
    "signals": lambda: document("resolved") | {"ended_at": "2026-03-01T12:05:00Z"},
}
"""The end of what the payload above began."""
