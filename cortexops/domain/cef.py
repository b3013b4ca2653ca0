"""Audit events in the Common Event Format (CEF:0), one a line, for SIEMs.

Header: `|` and `\\` are escaped, a line break becomes a space. Extension: `=` and `\\` are escaped, line
breaks are written as `\\n` and `\\r`; a `|` there needs nothing.
"""

from __future__ import annotations

import re

from cortexops.domain.audit import AuditEvent, AuditType
from cortexops.domain.ids import canonical_json

_VENDOR = "CortexOps"
_PRODUCT = "CortexOps"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_BREAKS = re.compile("[\x85\u2028\u2029]")
"""What some readers take for the end of a line."""
_LIMITS = {"suser": 1023, "reason": 1023, "msg": 1023, "externalId": 40, "act": 63}
_STRING_LIMIT = 4000  # of cs1 to cs6

SEVERITIES: dict[AuditType, int] = {
    AuditType.DETECTED: 5,
    AuditType.ANALYZED: 3,
    AuditType.ACTION_EXECUTED: 6,
    AuditType.VERIFIED: 2,
    AuditType.RESOLVED: 2,
    AuditType.STATE_CHANGED: 1,
    AuditType.POLICY_DECIDED: 3,
    AuditType.POLICY_VIOLATION: 8,
    AuditType.DRY_RUN: 2,
    AuditType.APPROVAL_REQUESTED: 4,
    AuditType.APPROVAL_VOTE: 4,
    AuditType.APPROVAL_DECIDED: 4,
    AuditType.INTENT: 4,
    AuditType.ACTION_REFUSED: 5,
    AuditType.EFFECT_UNKNOWN: 8,
    AuditType.COMPENSATION_EXECUTED: 6,
    AuditType.COMPENSATION_REFUSED: 8,
    AuditType.ESCALATED: 7,
    AuditType.POSTMORTEM: 1,
    AuditType.TERMINATED: 7,
    AuditType.FEEDBACK: 1,
    AuditType.CONTROL_CHANGED: 6,
    AuditType.REQUEST_REFUSED: 6,
    AuditType.VOTE_REFUSED: 6,
    AuditType.MODEL_ASKED: 3,
    AuditType.PART_EXECUTED: 6,
    AuditType.APPROVAL_REMINDED: 2,
    AuditType.ORPHAN_FOUND: 8,
    AuditType.ARCHIVED: 4,
}
"""0 to 10, as CEF has it: 7 and 8 are high, nothing here is 9 or 10 by itself."""
_OTHERS = 3


def header(text: str) -> str:
    """The text as a field of the header."""
    one_line = re.sub(r"\r\n|[\r\n\t]", " ", _BREAKS.sub(" ", _CONTROL.sub(" ", text)))
    return one_line.replace("\\", "\\\\").replace("|", "\\|")


def extension(text: str) -> str:
    """The text as a value of the extension."""
    plain = _BREAKS.sub("\n", _CONTROL.sub(" ", text))
    escaped = plain.replace("\\", "\\\\").replace("=", "\\=")
    return escaped.replace("\r", "\\r").replace("\n", "\\n")


def cef_line(cursor: int, event: AuditEvent, *, version: str, redacted: bool = False) -> str:
    """The event as one line, without its end. `rt` is in milliseconds; `cn2` is the export's cursor."""
    head = (
        "CEF:0",
        _VENDOR,
        _PRODUCT,
        version,
        event.type.value,
        f"{event.type.value.replace('_', ' ')}: {event.reason}",
        str(SEVERITIES.get(event.type, _OTHERS)),
    )
    fields: list[tuple[str, str]] = [
        ("rt", str(int(event.at.timestamp() * 1000))),
        ("suser", event.actor),
        ("act", event.type.value),
        ("reason", event.reason),
        ("externalId", event.chain),
        ("cn1Label", "sequence"),
        ("cn1", str(event.number)),
        ("cn2Label", "cursor"),
        ("cn2", str(cursor)),
        ("cs1Label", "hash"),
        ("cs1", event.hash),
        ("cs2Label", "previousHash"),
        ("cs2", event.previous_hash),
        ("cs3Label", "inputsHash"),
        ("cs3", event.inputs),
        ("cs4Label", "data"),
        ("cs4", canonical_json(event.data)),
        ("cs5Label", "redacted"),
        ("cs5", "true" if redacted else "false"),
        ("msg", event.detail),
    ]
    said = {name for name, value in fields if value}
    told = [
        f"{name}={extension(_cut(name, value))}"
        for name, value in fields
        if name in said and name.removesuffix("Label") in said
    ]
    return "|".join([head[0], *(header(part) for part in head[1:]), " ".join(told)])


def _cut(name: str, value: str) -> str:
    """As long as the format allows; the NDJSON export has it whole."""
    most = _STRING_LIMIT if name.startswith("cs") else _LIMITS.get(name, _STRING_LIMIT)
    return value if len(value) <= most else value[: most - 1] + "…"
