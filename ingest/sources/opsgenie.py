"""Opsgenie: its outgoing webhook, one action on one alert a request.

Opsgenie sends an alert's details only when it is created. So that its end finds the object too, the object
belongs into the tags or the entity, which every action carries.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import Signal, severity_from_word
from ingest.details import details_of, tags_of
from ingest.labels import first_text, is_resource, make_signal, target_of
from ingest.source import (
    LONGEST_LABEL,
    IgnoreReason,
    ParseResult,
    Skip,
    epoch_time,
    one_line,
    parse_items,
    summary_text,
    table,
)
from ingest.sources import SOURCES

_RESOLVED = frozenset({"Close", "Delete"})
_UPDATES = frozenset(
    {
        "AddDetails", "AddNote", "AddRecipient", "AddResponder", "AddTags", "AddTeam", "AssignOwnership",
        "Custom", "Escalate", "EscalateNext", "RemoveDetails", "RemoveTags", "Snooze", "SnoozeEnded",
        "TakeOwnership", "UnAcknowledge", "UpdateDescription", "UpdateMessage", "UpdatePriority",
    }
)  # fmt: skip


class Opsgenie:
    """One action, or an array of them."""

    fingerprint_from = ("alert.alias, else alert.alertId",)

    def recognises(self, payload: Any) -> bool:
        return isinstance(payload, dict) and "action" in payload and isinstance(payload.get("alert"), dict)

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        if isinstance(payload, dict) and "action" not in payload:
            raise InvalidInput("action", "is missing; expected Opsgenie's webhook")
        if not isinstance(payload, dict | list):
            raise InvalidInput("body", "must be an object")
        return parse_items(payload if isinstance(payload, list) else [payload], _signal, cluster, now)


def _signal(item: Any, cluster: str, now: datetime) -> Signal | Skip:
    if not isinstance(item, dict):
        raise InvalidInput("body", "must be an object")
    action = item.get("action")
    if not isinstance(action, str):
        raise InvalidInput("action", "must be text")
    if action == "Acknowledge":
        return Skip(IgnoreReason.ACKNOWLEDGED, action)
    if action in _UPDATES:
        return Skip(IgnoreReason.UPDATE, action)
    if action != "Create" and action not in _RESOLVED:
        raise InvalidInput("action", "is not known")
    alert = table(item.get("alert"), "alert")
    key = one_line(alert.get("alias"), LONGEST_LABEL) or one_line(alert.get("alertId"), LONGEST_LABEL)
    if not key:
        raise InvalidInput("alert.alias", "is missing, and so is alert.alertId")
    details = _details(alert)
    name = first_text(details.get("alertname"), alert.get("message")) or "OpsgenieAlert"
    updated = epoch_time(alert.get("updatedAt"), "alert.updatedAt")
    return make_signal(
        "opsgenie",
        name=name,
        resource=target_of(details, name, cluster=cluster, field="alert.tags"),
        resolved=action in _RESOLVED,
        severity=severity_from_word(
            first_text(alert.get("priority")), severity_from_word(details.get("severity", ""))
        ),
        summary=summary_text(alert.get("description") or alert.get("message")),
        labels={**details, "opsgenie_alert": first_text(alert.get("alertId"), key)},
        started=epoch_time(alert.get("createdAt"), "alert.createdAt") or now,
        ended=updated or now,
        now=now,
        key=key,
        drill=details.get("cortexops_drill") == "true",
        started_field="alert.createdAt",
    )


def _details(alert: dict[str, Any]) -> dict[str, str]:
    """Details before tags, and the entity where it reads like an object and nothing else names one."""
    found = {
        **tags_of(alert.get("tags") or None, "alert.tags"),
        **details_of(alert.get("details"), "alert.details"),
    }
    entity = first_text(alert.get("entity"))
    if "resource" not in found and is_resource(entity):
        found["resource"] = entity
    return found


SOURCES.register("opsgenie", Opsgenie())
