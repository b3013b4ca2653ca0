"""Datadog: the webhook of its Webhooks integration, whose body people write themselves.

The body that docs/sources.md gives has all that is needed; of others these names count.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import Severity, Signal, severity_from_word
from ingest.details import tags_of
from ingest.labels import first_text, joined, make_signal, target_of
from ingest.source import (
    LONGEST_LABEL,
    IgnoreReason,
    ParseResult,
    Skip,
    epoch_time,
    one_line,
    parse_items,
    summary_text,
)
from ingest.sources import SOURCES

_FIRING = frozenset({"triggered", "re-triggered", "warn", "re-warn", "renotify"})
_RESOLVED = frozenset({"recovered", "warn recovered"})
_NO_DATA = frozenset({"no data", "re-no data", "no data recovered"})
_TYPES = {"error": Severity.HIGH, "warning": Severity.MEDIUM, "info": Severity.LOW}


class Datadog:
    """One notification of a monitor, or an array of them."""

    fingerprint_from = ("aggreg_key, else alert_id", "the object in alert_scope or tags")

    def recognises(self, payload: Any) -> bool:
        return isinstance(payload, dict) and "alert_transition" in payload

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        if isinstance(payload, dict) and "alert_transition" not in payload:
            raise InvalidInput("alert_transition", "is missing; set the payload that the manual gives")
        if not isinstance(payload, dict | list):
            raise InvalidInput("body", "must be an object")
        return parse_items(payload if isinstance(payload, list) else [payload], _signal, cluster, now)


def _said(item: dict[str, Any], *fields: str, most: int = LONGEST_LABEL) -> str:
    """The first of the fields that has a value; a variable that Datadog did not know stays as `$NAME`."""
    for field in fields:
        text = one_line(item.get(field), most)
        if text and not text.startswith("$"):
            return text
    return ""


def _signal(item: Any, cluster: str, now: datetime) -> Signal | Skip:
    if not isinstance(item, dict):
        raise InvalidInput("body", "must be an object")
    transition = _said(item, "alert_transition").lower()
    if transition in _NO_DATA:
        return Skip(IgnoreReason.NO_DATA, transition)
    if transition not in _FIRING and transition not in _RESOLVED:
        raise InvalidInput("alert_transition", "must be Triggered, Warn, Renotify, Recovered or No Data")
    resolved = transition in _RESOLVED
    key = _said(item, "aggreg_key", "alert_id")
    if not key:
        raise InvalidInput("aggreg_key", "is missing, and so is alert_id")
    scope = tags_of(item.get("alert_scope") or None, "alert_scope")
    # The scope is what this very alert is about, the tags are all that is known of its surroundings.
    tags = {**tags_of(item.get("tags") or None, "tags"), **scope}
    name = first_text(tags.get("alertname"), tags.get("monitor"), _said(item, "alert_title", "title"))
    resource = target_of(tags, name, cluster=cluster, field="tags")
    said = {
        "datadog_monitor": _said(item, "alert_id"),
        "datadog_metric": _said(item, "alert_metric"),
        "datadog_url": _said(item, "link"),
    }
    moment = epoch_time(_time(item, "date"), "date")
    return make_signal(
        "datadog",
        name=name or "DatadogMonitor",
        resource=resource,
        resolved=resolved,
        severity=_severity(item, transition, tags),
        summary=summary_text(item.get("body") or item.get("text") or item.get("title")),
        labels={**tags, **{name: text for name, text in said.items() if text}},
        started=moment or now,
        ended=moment or now,
        now=now,
        key=joined([key, resource.key]),
        drill=tags.get("cortexops_drill") == "true",
        started_field="date",
    )


def _time(item: dict[str, Any], field: str) -> Any:
    value = item.get(field)
    return None if isinstance(value, str) and value.startswith("$") else value


def _severity(item: dict[str, Any], transition: str, tags: dict[str, str]) -> Severity:
    """The monitor's priority, else the tag `severity`, else the type of the alert."""
    kind = _TYPES.get(_said(item, "alert_type").lower(), Severity.MEDIUM)
    if "warn" in transition:
        kind = Severity.MEDIUM
    said = severity_from_word(tags.get("severity", ""), kind)
    return severity_from_word(_said(item, "alert_priority", "priority"), said)


SOURCES.register("datadog", Datadog())
