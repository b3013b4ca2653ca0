"""Grafana's unified alerting: the webhook of a contact point, signed with HMAC where that is configured."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import Signal
from ingest.labels import alert_signal
from ingest.source import IgnoreReason, ParseResult, Skip, epoch_time, parse_items
from ingest.sources import SOURCES, Secrets, Unauthorised, check_age, verify_hmac

SIGNATURE = "x-grafana-alerting-signature"
TIMESTAMP = "x-grafana-alerting-timestamp"
_ABOUT_GRAFANA = frozenset({"DatasourceNoData", "DatasourceError"})


class Grafana:
    """Each alert of a notification becomes one signal, under the fingerprint that Grafana gives it."""

    fingerprint_from = ("alerts[].fingerprint",)

    def recognises(self, payload: Any) -> bool:
        return isinstance(payload, dict) and "orgId" in payload and isinstance(payload.get("alerts"), list)

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        if isinstance(payload, list):
            alerts: Any = payload
        elif isinstance(payload, dict) and "alerts" in payload:
            alerts = payload["alerts"]
        elif isinstance(payload, dict) and ("evalMatches" in payload or "ruleName" in payload):
            raise InvalidInput("alerts", "is missing: this is legacy alerting, use a contact point instead")
        else:
            raise InvalidInput("alerts", "is missing; expected the webhook of a contact point")
        if not isinstance(alerts, list):
            raise InvalidInput("alerts", "must be a list")
        return parse_items(alerts, _signal, cluster, now)

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Secrets, now: datetime) -> None:
        """HMAC-SHA256 of the body, or of `time:body` where the contact point sends a time as well."""
        stamp = headers.get(TIMESTAMP)
        message = body if stamp is None else stamp.encode("utf-8", "replace") + b":" + body
        verify_hmac([headers.get(SIGNATURE, "").strip()], message, secrets.keys, SIGNATURE)
        if stamp is not None:
            check_age(_signed_at(stamp), now)


def _signed_at(stamp: str) -> datetime:
    try:
        moment = epoch_time(stamp, TIMESTAMP)
    except InvalidInput:
        moment = None
    if moment is None:
        raise Unauthorised(f"the header {TIMESTAMP} is no Unix time")
    return moment


def _signal(alert: Any, cluster: str, now: datetime) -> Signal | Skip:
    if not isinstance(alert, dict):
        raise InvalidInput("alert", "must be an object")
    status = alert.get("status")
    if status not in ("firing", "resolved"):
        raise InvalidInput("status", "must be firing or resolved")
    labels = alert.get("labels")
    if isinstance(labels, dict):
        name = labels.get("alertname")
        if isinstance(name, str) and name in _ABOUT_GRAFANA:
            return Skip(IgnoreReason.NO_DATA, "Grafana cannot evaluate the rule")
    return alert_signal("grafana", alert, status == "resolved", cluster, now)


SOURCES.register("grafana", Grafana())
