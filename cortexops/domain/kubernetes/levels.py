"""The level that a line of a log was written at, in the ways that frameworks have of telling it."""

from __future__ import annotations

from collections.abc import Sequence

from cortexops.domain.kubernetes.remembered import Remembered

_ERROR = Remembered(
    r"(?:[\"'](?i:level|severity|lvl|levelname|log\.level|@l)[\"']\s?:\s?(?:[5-6]0\b|[\"'](?i:err(?:or)?|fatal"
    r"|crit(?:ical)?|panic|alert|emerg(?:ency)?|severe)[\"'])"
    r"|\b(?:level|lvl|severity)=[\"']?(?i:err(?:or)?|fatal|crit(?:ical)?|panic|severe)\b"
    r"|(?:^|[\s\[|.])(?:ERROR|FATAL|CRITICAL|SEVERE|PANIC|ALERT|EMERGENCY)(?=[\s\]:|]|$)"
    r"|^(?:fail|crit): |^[EF], \[|^[EF]\d{4} \d\d:\d\d:\d\d)"
)


def errors(lines: Sequence[str]) -> list[str]:
    """The lines that their framework marks as an error or worse, whatever their words."""
    return [line for line in lines if _ERROR.search(line)]
