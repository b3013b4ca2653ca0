"""PagerDuty: generic webhooks (v3), and events as programs send them to PagerDuty (Events API v2).

A webhook says nothing about Kubernetes by itself: the object comes from `custom_details`, which the service's
integrations fill. In the shape `{"event": {"incident": …}}` everything but id and details may be absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import ResourceRef
from cortexops.domain.signal import Severity, Signal, severity_from_word
from ingest.details import details_of
from ingest.labels import first_text, joined, make_signal, target_of
from ingest.source import (
    LONGEST_LABEL,
    IgnoreReason,
    NoTarget,
    ParseResult,
    Skip,
    one_line,
    parse_items,
    raw_of,
    some_time,
    summary_text,
    table,
)
from ingest.sources import SOURCES, Secrets, verify_hmac

SIGNATURE = "x-pagerduty-signature"
_DEFAULT_NAMESPACE = "default"
_FIRING = frozenset({"incident.triggered", "incident.reopened"})
_UPDATES = frozenset(
    "incident." + word
    for word in (
        "annotated", "conference_bridge.updated", "custom_field_values.updated", "delegated", "escalated",
        "incident_type.changed", "priority_updated", "reassigned", "responder.added", "responder.replied",
        "role.assigned", "service_updated", "status_update_published", "task.created", "task.deleted",
        "task.updated", "unacknowledged", "workflow.completed", "workflow.started",
    )
)  # fmt: skip
_STATUSES = {
    "triggered": "incident.triggered",
    "acknowledged": "incident.acknowledged",
    "resolved": "incident.resolved",
}
_ACTIONS = ("trigger", "acknowledge", "resolve")


class PagerDuty:
    """One event, or an array of them."""

    fingerprint_from = (
        "event.data.id",
        "dedup_key",
        "payload.source, component, group, class and the object, when there is no dedup_key",
    )

    def recognises(self, payload: Any) -> bool:
        if not isinstance(payload, dict):
            return False
        event = payload.get("event")
        if isinstance(event, dict):
            return "incident" in event or ("event_type" in event and "data" in event)
        return payload.get("event_action") in _ACTIONS

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        if isinstance(payload, dict) and "messages" in payload:
            raise InvalidInput("messages", "webhooks of version 2 are not taken; subscribe with version 3")
        if not isinstance(payload, dict | list) or (
            isinstance(payload, dict) and "event" not in payload and "event_action" not in payload
        ):
            raise InvalidInput(
                "event", "is missing; expected a webhook of version 3 or an event of version 2"
            )
        items = payload if isinstance(payload, list) else [payload]
        result = parse_items(items, _signal, cluster, now)
        result.rejected = [
            replace(r, raw=_without_key(items[r.index])) if _has_key(items[r.index]) else r
            for r in result.rejected
        ]
        return result

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Secrets, now: datetime) -> None:
        """`v1=<hex>`, several of them while a signing secret is being changed."""
        shown = [part.strip() for part in headers.get(SIGNATURE, "").split(",")]
        verify_hmac(
            [part.removeprefix("v1=") for part in shown if part.startswith("v1=")],
            body,
            secrets.keys,
            SIGNATURE,
        )


def _has_key(item: Any) -> bool:
    return isinstance(item, dict) and "routing_key" in item


def _without_key(item: dict[str, Any]) -> bytes:
    """What is parked holds no key with which events could be sent."""
    return raw_of({**item, "routing_key": "(removed)"})


def _signal(item: Any, cluster: str, now: datetime) -> Signal | Skip:
    if not isinstance(item, dict):
        raise InvalidInput("event", "must be an object")
    if "event_action" in item:
        return _sent_event(item, cluster, now)
    return _webhook(table(item.get("event"), "event"), cluster, now)


# -- webhooks, version 3 -------------------------------------------------------------------------------


def _webhook(event: dict[str, Any], cluster: str, now: datetime) -> Signal | Skip:
    place = "event.incident" if "incident" in event else "event.data"
    incident = table(event.get(place.removeprefix("event.")), place)
    kind = _event_type(event, incident, place)
    if kind == "pagey.ping":
        return Skip(IgnoreReason.PING, kind)
    if kind == "incident.acknowledged":
        return Skip(IgnoreReason.ACKNOWLEDGED, kind)
    if kind in _UPDATES or kind.startswith("service."):
        return Skip(IgnoreReason.UPDATE, kind)
    resolved = kind == "incident.resolved"
    if not resolved and kind not in _FIRING:
        raise InvalidInput("event.event_type", "is not known")
    key = one_line(incident.get("id"), LONGEST_LABEL)
    if not key:
        raise InvalidInput(f"{place}.id", "is missing")
    title = first_text(incident.get("title"), incident.get("summary")) or "PagerDutyIncident"
    details = _details(incident, place)
    occurred = some_time(event.get("occurred_at"), "event.occurred_at")
    created = some_time(incident.get("created_at"), f"{place}.created_at")
    # An incident that is reopened keeps its `created_at`, and so does each of its ends: when they happened tells
    # which of them is the latest.
    started = created or occurred if kind == "incident.triggered" else occurred or created
    service = table(incident.get("service"), f"{place}.service")
    labels = {
        **details,
        "pagerduty_incident": key,
        "pagerduty_service": first_text(service.get("summary"), service.get("name")),
        "pagerduty_urgency": first_text(incident.get("urgency")),
        "pagerduty_url": first_text(incident.get("html_url"), most=LONGEST_LABEL),
    }
    return make_signal(
        "pagerduty",
        name=title,
        resource=_target(details, title, cluster, f"{place}.custom_details"),
        resolved=resolved,
        severity=_severity(incident, details),
        summary=summary_text(incident.get("description") or title),
        labels={name: text for name, text in labels.items() if text},
        started=started or now,
        ended=occurred or now,
        now=now,
        key=key,
        drill=details.get("cortexops_drill") == "true",
        started_field=f"{place}.created_at",
    )


def _event_type(event: dict[str, Any], incident: dict[str, Any], place: str) -> str:
    kind = event.get("event_type")
    if kind is None and place == "event.incident":
        status = incident.get("status", "triggered")
        kind = _STATUSES.get(status) if isinstance(status, str) else None
        if kind is None:
            raise InvalidInput(f"{place}.status", "must be triggered, acknowledged or resolved")
    if not isinstance(kind, str):
        raise InvalidInput("event.event_type", "is missing")
    return kind


def _details(incident: dict[str, Any], place: str) -> dict[str, str]:
    """All that is said about the object, wherever PagerDuty puts it; `custom_details` first."""
    found = details_of(incident.get("custom_details"), f"{place}.custom_details")
    body = incident.get("body")
    details = body.get("details") if isinstance(body, dict) else None
    inner = (
        details.get("custom_details") if isinstance(details, dict) else None
    )  # as the Events API took them
    for part, where in ((inner, "body.details.custom_details"), (details, "body.details")):
        if isinstance(part, dict):
            flat = {name: value for name, value in part.items() if name != "custom_details"}
            found = {**details_of(flat, f"{place}.{where}"), **found}
    fields = incident.get("custom_fields")
    for field in fields if isinstance(fields, list) else []:
        if isinstance(field, dict):
            named = {first_text(field.get("name")): field.get("value")}
            found = {**details_of(named, f"{place}.custom_fields"), **found}
    return found


def _target(details: dict[str, str], name: str, cluster: str, field: str) -> ResourceRef:
    if not details:
        raise NoTarget(field, "is missing; it must hold resource (deployment/api) and namespace")
    return target_of(details, name, cluster=cluster, field=field, default_namespace=_DEFAULT_NAMESPACE)


def _severity(incident: dict[str, Any], details: dict[str, str]) -> Severity:
    """The priority, else what the details say, else the urgency."""
    priority = incident.get("priority")
    if isinstance(priority, dict):
        priority = first_text(priority.get("summary"), priority.get("name"))
    urgency = severity_from_word(first_text(incident.get("urgency")))
    said = severity_from_word(details.get("severity", ""), urgency)
    return severity_from_word(first_text(priority), said)


# -- Events API, version 2 -----------------------------------------------------------------------------


def _sent_event(item: dict[str, Any], cluster: str, now: datetime) -> Signal | Skip:
    action = item.get("event_action")
    if action == "acknowledge":
        return Skip(IgnoreReason.ACKNOWLEDGED, "acknowledge")
    if action not in ("trigger", "resolve"):
        raise InvalidInput("event_action", "must be trigger, acknowledge or resolve")
    payload = table(item.get("payload"), "payload")
    details = details_of(payload.get("custom_details"), "payload.custom_details")
    name = first_text(details.get("alertname"), payload.get("class"), payload.get("summary"))
    resource = _target(details, name, cluster, "payload.custom_details")
    parts = [first_text(payload.get(part)) for part in ("source", "component", "group", "class")]
    labels = {
        **details,
        **{
            f"pagerduty_{part}": text
            for part, text in zip(("source", "component"), parts, strict=False)
            if text
        },
    }
    return make_signal(
        "pagerduty",
        name=name or "PagerDutyEvent",
        resource=resource,
        resolved=action == "resolve",
        severity=severity_from_word(first_text(payload.get("severity"))),
        summary=summary_text(payload.get("summary")),
        labels=labels,
        started=some_time(payload.get("timestamp"), "payload.timestamp") or now,
        ended=now,
        now=now,
        key=one_line(item.get("dedup_key"), LONGEST_LABEL) or joined([*parts, resource.key]),
        drill=details.get("cortexops_drill") == "true",
        started_field="payload.timestamp",
    )


SOURCES.register("pagerduty", PagerDuty())
