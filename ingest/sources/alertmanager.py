"""Prometheus Alertmanager: webhooks (version 4), and bare alerts as its API and Prometheus send them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import Signal
from ingest.labels import alert_signal
from ingest.source import IgnoreReason, ParseResult, Skip, parse_items, some_time
from ingest.sources import SOURCES

_ALERTS_HAVE = ("startsAt", "activeAt", "generatorURL", "annotations")


def _is_alert(item: Any) -> bool:
    """Labels with a name, or what nothing but an alert has besides."""
    if not isinstance(item, dict) or not isinstance(item.get("labels"), dict) or "schema" in item:
        return False
    return "alertname" in item["labels"] or any(field in item for field in _ALERTS_HAVE)


def _listed(payload: dict[str, Any]) -> Any:
    """The alerts of a webhook, or of an answer of Prometheus' own API (`/api/v1/alerts`)."""
    data = payload.get("data")
    if "alerts" not in payload and payload.get("status") == "success" and isinstance(data, dict):
        return data.get("alerts")
    return payload.get("alerts")


class Alertmanager:
    """Each alert becomes one signal; the webhook's grouping plays no part."""

    fingerprint_from = ("alerts[].fingerprint",)

    def recognises(self, payload: Any) -> bool:
        if isinstance(payload, list):
            return bool(payload) and all(_is_alert(item) for item in payload)
        if not isinstance(payload, dict) or "orgId" in payload:  # that one is Grafana's
            return False
        alerts = _listed(payload)
        return _is_alert(payload) or (isinstance(alerts, list) and any(_is_alert(item) for item in alerts))

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        if isinstance(payload, list):
            alerts = payload
        elif isinstance(payload, dict) and ("alerts" in payload or _listed(payload) is not None):
            alerts = _listed(payload)
        elif isinstance(payload, dict) and "labels" in payload:
            alerts = [payload]
        else:
            raise InvalidInput("alerts", "is missing; expected an Alertmanager webhook, version 4")
        if not isinstance(alerts, list):
            raise InvalidInput("alerts", "must be a list")
        return parse_items(alerts, _signal, cluster, now)


def _signal(alert: Any, cluster: str, now: datetime) -> Signal | Skip:
    if not isinstance(alert, dict):
        raise InvalidInput("alert", "must be an object")
    if alert.get("activeAt") and not alert.get("startsAt"):  # as Prometheus' API lists them
        alert = {**alert, "startsAt": alert["activeAt"]}
    status = alert.get("status")
    if status in ("firing", "resolved"):
        return alert_signal("alertmanager", alert, status == "resolved", cluster, now)
    if isinstance(status, dict):  # as Alertmanager's API lists them: what has ended is not in the list
        if status.get("state") == "suppressed":
            return Skip(IgnoreReason.SILENCED, "silenced or inhibited in Alertmanager")
        return alert_signal("alertmanager", alert, False, cluster, now)
    if status is not None:
        raise InvalidInput("status", "must be firing or resolved")
    # As Prometheus itself posts them: an end in the past is the only sign that it is over.
    ended = some_time(alert.get("endsAt"), "endsAt")
    return alert_signal("alertmanager", alert, ended is not None and ended <= now, cluster, now)


SOURCES.register("alertmanager", Alertmanager())
