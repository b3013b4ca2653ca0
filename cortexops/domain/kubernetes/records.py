"""Consumers that get no further than one record of a topic, or one message of a queue."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from cortexops.domain.kubernetes import complaints

_UNREAD = re.compile(
    r"(?i)(deseriali[sz]|\bdecod|\bpars(?:e|ing)\b|unmarshal|malformed|\binvalid\b|\bpoison|\bschema\b|cannot process"
    r"|(?:could not|failed to|unable to|error) (?:process|handl|consum|read|apply))"
)
_MISREAD = re.compile(
    r"(?i)(deseriali[sz]|\bunmarshal|\bjson ?decode ?error\b|(?:cannot|could not|couldn't|failed to|unable to) decode\b"
    r"|\bunrecognized (?:field|property)|\bunknown (?:field|enum|magic byte|schema)|\bmismatchedinputexception\b"
    r"|\binvalidformatexception\b|\bjsonmappingexception\b|\bavrotypeexception\b|\binvalid wire[ -]?type\b"
    r"|\bmissing required (?:creator )?(?:field|property)|\bschema (?:mismatch|is not compatible|validation failed)"
    r"|\bdoes not match (?:the )?schema\b|\bunexpected (?:message|event|payload|schema) (?:version|format|type)"
    r"|\bunsupported (?:message|event|payload|schema) (?:version|format|type))"
)
_AT = re.compile(r"(?i)\bpartition[\"' :=]{1,3}(\S{1,120}?)[\"',;:]* (?:at )?offset[\"' :=]{1,3}(\d{1,19})")
_OFFSET = re.compile(r"(?i)\boffset[\"' :=]{1,3}(\d{1,19})")
_MESSAGE = re.compile(
    r"(?i)\b(?:message|msg|event|record|job|task|delivery)[ _-]?(?:id|key|tag|uuid)[\"' :=]{1,3}([\w:.-]{4,80})"
)
_OFTEN = 3  # complaints
_LITTLE_ELSE = 2  # other records that failed, at most


class Stuck(NamedTuple):
    """Where a consumer stands, as words, and the complaints that tell."""

    at: str
    lines: tuple[str, ...]


def misread(lines: Sequence[str]) -> list[str]:
    """Complaints of a program that it does not understand the form of what it was given."""
    return [line for line in complaints.complaining(lines) if _MISREAD.search(line)]


def stuck_record(lines: Sequence[str]) -> Stuck | None:
    """The one record or message that a consumer fails on at least three times, while it fails on hardly any other;
    None where it fails on many, as then it is not the record that is wrong."""
    told: dict[str, list[str]] = {}
    for line in complaints.complaining(lines):
        if not _UNREAD.search(line):
            continue
        at = _AT.search(line)
        offset, message = _OFFSET.search(line), _MESSAGE.search(line)
        where = (
            f"offset {at.group(2)} of {at.group(1)}" if at is not None
            else f"offset {offset.group(1)}" if offset is not None
            else f"message {message.group(1)}" if message is not None
            else ""
        )  # fmt: skip
        if where:
            told.setdefault(where, []).append(line)
    counted = Counter({where: len(said) for where, said in told.items()})
    if not counted or len(counted) > _LITTLE_ELSE + 1:
        return None
    where, times = counted.most_common(1)[0]
    return Stuck(where, tuple(told[where])) if times >= _OFTEN else None
