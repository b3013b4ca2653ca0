"""Plain `cortexops.signal/v1` documents, for programs that speak our schema."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from cortexops.domain.signal import SCHEMA, Signal
from ingest.decode import read_document
from ingest.source import DEFAULT_FINGERPRINT, ParseResult, parse_items
from ingest.sources import SOURCES


class Signals:
    """One document or an array of them. A document without a cluster is in the default one."""

    fingerprint_from = ("fingerprint", *(f"{field}, when there is none" for field in DEFAULT_FINGERPRINT))

    def recognises(self, payload: Any) -> bool:
        items = payload if isinstance(payload, list) else [payload]
        return bool(items) and all(isinstance(i, dict) and i.get("schema") == SCHEMA for i in items)

    def parse(self, payload: Any, *, cluster: str, now: datetime) -> ParseResult:
        return parse_items(payload if isinstance(payload, list) else [payload], _signal, cluster, now)


def _signal(item: Any, cluster: str, now: datetime) -> Signal:
    return read_document(item, cluster=cluster, now=now)


SOURCES.register("signals", Signals())
