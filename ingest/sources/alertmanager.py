"""Prometheus Alertmanager: webhooks (version 4), and bare alerts as its API and Prometheus send them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from pydantic import ValidationError

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import (
    Signal,
    SignalStatus,
    invalid_input,
    severity_from_word,
    signal_type,
)
from ingest.labels import resource_of
from ingest.source import (
    LONGEST_LABEL,
    ParseResult,
    bounded_labels,
    check_signal,
    clean,
    rejection,
    some_time,
    summary_text,
)
from ingest.sources import SOURCES


def _is_alert(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("labels"), dict) and "alertname" in item["labels"]


class Alertmanager:
    """Each alert becomes one signal; the webhook's grouping plays no part."""

    def recognises(self, payload: Any) -> bool:
        if isinstance(payload, list):
            return bool(payload) and all(_is_alert(item) for item in payload)
        if not isinstance(payload, dict):
            return False
        alerts = payload.get("alerts")
        return _is_alert(payload) or (isinstance(alerts, list) and any(_is_alert(item) for item in alerts))

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        if isinstance(payload, list):
            alerts = payload
        elif isinstance(payload, dict) and "alerts" in payload:
            alerts = payload["alerts"]
        elif isinstance(payload, dict) and "labels" in payload:
            alerts = [payload]
        else:
            raise InvalidInput("alerts", "is missing; expected an Alertmanager webhook, version 4")
        if not isinstance(alerts, list):
            raise InvalidInput("alerts", "must be a list")
        result = ParseResult([], [])
        for index, alert in enumerate(alerts):
            try:
                result.signals.append(_signal(alert, cluster, now))
            except InvalidInput as error:
                result.rejected.append(rejection(index, error, msgspec.json.encode(alert)))
        return result


def _mapping(alert: Mapping[str, Any], field: str) -> dict[str, str]:
    value = alert.get(field) or {}
    if not isinstance(value, dict):
        raise InvalidInput(field, "must be an object")
    return {clean(key, 128): clean(text, LONGEST_LABEL) for key, text in value.items()}


def _signal(alert: Any, cluster: str, now: datetime) -> Signal:
    if not isinstance(alert, dict):
        raise InvalidInput("alert", "must be an object")
    labels = _mapping(alert, "labels")
    annotations = _mapping(alert, "annotations")
    name = labels.get("alertname", "")
    if not name:
        raise InvalidInput("labels.alertname", "is missing")
    started = some_time(alert.get("startsAt"), "startsAt")
    if started is None:
        raise InvalidInput("startsAt", "is missing")
    ended = some_time(alert.get("endsAt"), "endsAt")
    resolved = alert.get("status") == "resolved"  # the API's status is an object: that is firing
    kind = signal_type(name)
    resource = resource_of(labels, name, kind, cluster=cluster)
    text = annotations.get("summary") or annotations.get("message") or ""
    detail = annotations.get("description", "")
    try:
        signal = Signal(
            source="alertmanager",
            cluster=resource.cluster,
            status=SignalStatus.RESOLVED if resolved else SignalStatus.FIRING,
            name=name[:253],
            type=kind,
            severity=severity_from_word(labels.get("severity", "")),
            resource=resource,
            summary=summary_text(f"{text}: {detail}" if text and detail else text or detail),
            labels=bounded_labels(labels),
            started_at=started,
            ended_at=ended if resolved else None,
            received_at=now,
            fingerprint=str(alert.get("fingerprint") or "")[:64],
            drill=labels.get("cortexops_drill", "") == "true",
        )
    except ValidationError as error:
        raise invalid_input(error) from None
    return check_signal(signal).sealed()


SOURCES.register("alertmanager", Alertmanager())
