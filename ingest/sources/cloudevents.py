"""CloudEvents 1.0: structured, as a batch, or with the attributes in HTTP headers (binary).

The data of an event is a `cortexops.signal/v1` document, the payload of another source, or a plain object
with at least `resource`, and better with `severity` and `status`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import msgspec

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import SCHEMA, Signal, severity_from_word
from ingest.details import details_of
from ingest.labels import first_text, make_signal, target_of
from ingest.source import (
    LONGEST_LABEL,
    MOST_ITEMS,
    NoTarget,
    ParseResult,
    cluster_name,
    one_line,
    raw_of,
    rejection,
    some_time,
    summary_text,
)
from ingest.sources import SOURCES

_NAME = "cloudevents"
_PREFIX = "ce-"
_STATUSES = {"firing": False, "resolved": True}


class CloudEvents:
    """One event or a batch. The positions of what an event's own payload holds follow those before it."""

    fingerprint_from = (
        "data.fingerprint",
        "data.name and the object, when there is none",
        "what the source of data takes, when data is another source's payload",
    )

    def recognises(self, payload: Any) -> bool:
        items = payload if isinstance(payload, list) else [payload]
        return bool(items) and all(isinstance(item, dict) and "specversion" in item for item in items)

    def assemble(self, headers: Mapping[str, str], document: Any) -> Any:
        """In binary mode the body is the data alone and the attributes are headers `ce-…`."""
        if "ce-specversion" not in headers:
            return document
        attributes = {
            name.removeprefix(_PREFIX): unquote(value)
            for name, value in headers.items()
            if name.startswith(_PREFIX) and name != "ce-data"
        }
        return {**attributes, "data": document}

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        if isinstance(payload, dict) and "specversion" not in payload:
            raise InvalidInput("specversion", "is missing; expected CloudEvents 1.0")
        if not isinstance(payload, dict | list):
            raise InvalidInput("body", "must be an object or an array")
        events = payload if isinstance(payload, list) else [payload]
        if len(events) > MOST_ITEMS:
            raise InvalidInput("body", f"holds more than {MOST_ITEMS} items")
        result = ParseResult([], [])
        for event in events:
            first = result.size
            try:
                found = _event(event, cluster, now)
            except InvalidInput as error:
                result.rejected.append(rejection(first, error, raw_of(event)))
                continue
            result.signals.extend(found.signals)
            result.rejected.extend(replace(item, index=item.index + first) for item in found.rejected)
            result.ignored.extend(replace(item, index=item.index + first) for item in found.ignored)
        return result


def _event(event: Any, cluster: str, now: datetime) -> ParseResult:
    if not isinstance(event, dict):
        raise InvalidInput("event", "must be an object")
    if event.get("specversion") != "1.0":
        raise InvalidInput("specversion", "must be 1.0")
    for name in ("id", "source", "type"):
        if not isinstance(event.get(name), str) or not event[name]:
            raise InvalidInput(name, "is missing")
    own = one_line(event.get("cluster"), LONGEST_LABEL)  # an extension attribute
    where = cluster_name(own, "cluster") if own else cluster
    data = _data(event)
    if isinstance(data, dict) and data.get("schema") == SCHEMA:
        return SOURCES["signals"].parse(data, cluster=where, now=now)
    for name, source in SOURCES:
        if name != _NAME and source.recognises(data):
            return source.parse(data, cluster=where, now=now)
    return ParseResult([_plain(event, data, where, now)], [])


def _data(event: dict[str, Any]) -> Any:
    data = event.get("data")
    if data is None and "data_base64" in event:
        try:
            data = base64.b64decode(event["data_base64"], validate=True)
        except (binascii.Error, ValueError, TypeError):
            raise InvalidInput("data_base64", "is not base64") from None
    if isinstance(data, str | bytes):
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            raise InvalidInput("data", "is not JSON") from None
    return data


def _plain(event: dict[str, Any], data: Any, cluster: str, now: datetime) -> Signal:
    if not isinstance(data, dict):
        raise NoTarget("data", "must be an object that names a resource")
    status = data.get("status", "firing")
    if not isinstance(status, str) or status not in _STATUSES:
        raise InvalidInput("data.status", "must be firing or resolved")
    named = data.get("resource")
    details = {
        **details_of(data.get("labels"), "data.labels"),
        **details_of({key: one for key, one in data.items() if key not in _PROSE}, "data"),
    }
    if isinstance(named, dict):
        parts = details_of(named, "data.resource")
        details["resource"] = "/".join(parts[part] for part in ("kind", "namespace", "name") if part in parts)
        details.setdefault("cluster", parts.get("cluster", ""))
    name = first_text(data.get("name"), data.get("alertname"), event["type"])
    moment = some_time(event.get("time"), "time")
    return make_signal(
        _NAME,
        name=name,
        resource=target_of(details, name, cluster=cluster, field="data"),
        resolved=_STATUSES[status],
        severity=severity_from_word(details.get("severity", "")),
        summary=summary_text(data.get("summary") or data.get("message") or data.get("description")),
        labels={key: text for key, text in details.items() if key not in _FIELDS and text},
        started=some_time(data.get("started_at"), "data.started_at") or moment or now,
        ended=some_time(data.get("ended_at"), "data.ended_at") or moment or now,
        now=now,
        key=one_line(data.get("fingerprint"), LONGEST_LABEL),
        drill=details.get("cortexops_drill") == "true",
        started_field="data.started_at",
    )


_PROSE = frozenset({"summary", "message", "description", "labels"})
_FIELDS = frozenset(
    {"name", "status", "severity", "started_at", "ended_at", "fingerprint", "resource", "cluster"}
)

SOURCES.register(_NAME, CloudEvents())
