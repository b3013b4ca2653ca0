"""Plain `cortexops.signal/v1` documents, for programs that speak our schema."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from pydantic import ValidationError

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import SCHEMA, Signal, invalid_input
from ingest.source import (
    LARGEST_SIGNAL,
    ParseResult,
    bounded_labels,
    check_signal,
    clean,
    rejection,
    summary_text,
)
from ingest.sources import SOURCES


class Signals:
    """One document or an array of them. A document without a cluster is in the default one."""

    def recognises(self, payload: Any) -> bool:
        items = payload if isinstance(payload, list) else [payload]
        return bool(items) and all(isinstance(i, dict) and i.get("schema") == SCHEMA for i in items)

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        result = ParseResult([], [])
        for index, item in enumerate(payload if isinstance(payload, list) else [payload]):
            try:
                result.signals.append(_signal(item, cluster, now))
            except InvalidInput as error:
                result.rejected.append(rejection(index, error, msgspec.json.encode(item)))
        return result


def _signal(item: Any, cluster: str, now: datetime) -> Signal:
    if not isinstance(item, dict):
        raise InvalidInput("body", "must be an object")
    if item.get("schema", SCHEMA) != SCHEMA:
        raise InvalidInput("schema", f"must be {SCHEMA}")
    known = {"cluster": cluster, **item, "received_at": now}
    resource = known.get("resource")
    if isinstance(resource, dict):
        known["resource"] = {"cluster": known["cluster"], **resource}
    if isinstance(known.get("labels"), dict):
        known["labels"] = bounded_labels(known["labels"])
    if isinstance(known.get("summary"), str):
        known["summary"] = summary_text(known["summary"])
    if isinstance(known.get("name"), str):
        known["name"] = clean(known["name"], 254)
    if len(str(known.get("fingerprint", ""))) > 64:
        raise InvalidInput("fingerprint", "is longer than 64 characters")
    try:
        signal = Signal.model_validate(known)
    except ValidationError as error:
        raise invalid_input(error) from None
    if len(msgspec.json.encode(item)) > LARGEST_SIGNAL:
        raise InvalidInput("body", f"is larger than {LARGEST_SIGNAL} bytes")
    return check_signal(signal).sealed()


SOURCES.register("signals", Signals())
