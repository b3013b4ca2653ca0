"""Audit events on their way out: masked, and as one line of NDJSON or CEF each."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import NamedTuple

from cortexops.domain.audit import AuditEvent
from cortexops.domain.cef import cef_line
from cortexops.domain.outgoing import WITHHELD, Destination, Withheld, outgoing, outgoing_value


class ExportFormat(StrEnum):
    NDJSON = "ndjson"
    CEF = "cef"


class Shown(NamedTuple):
    """An event as it may leave. Where `redacted`, its hash is that of the row, not of what is shown."""

    event: AuditEvent
    redacted: bool


def shown(event: AuditEvent) -> Shown:
    """The event with what people and clusters wrote masked. What cannot be checked stays back."""
    try:
        detail = outgoing(event.detail, Destination.AUDIT)
        reason = outgoing(event.reason, Destination.AUDIT)
        data = outgoing_value(event.data, Destination.AUDIT)
    except Withheld:
        detail, reason, data = WITHHELD, event.reason, {}
    masked = event.model_copy(update={"detail": detail, "reason": reason, "data": data})
    return Shown(masked, masked != event)


def export_line(cursor: int, event: AuditEvent, form: ExportFormat, *, version: str) -> str:
    """One line, without its end. NDJSON says `redacted` only where something was masked."""
    found = shown(event)
    if form is ExportFormat.CEF:
        return cef_line(cursor, found.event, version=version, redacted=found.redacted)
    content = {"cursor": cursor, **found.event.model_dump(mode="json")}
    if found.redacted:
        content["redacted"] = True
    return json.dumps(content, ensure_ascii=False)
