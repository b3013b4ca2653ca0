"""Bytes to documents to signals: the same for webhooks, files and messages of the stream."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import Signal, parse_signal
from cortexops.registry import Registry
from ingest.source import LARGEST_SIGNAL, ParseResult, Rejection, Source, check_signal, rejection
from ingest.sources import SOURCES

AUTO = "auto"
_id = re.compile(r"[0-9a-f]{32}")


def autodetect(payload: Any, sources: Registry[Source] = SOURCES) -> str:
    """The name of the source that recognises the payload. Raises `InvalidInput` when none does."""
    for name, source in sources:
        if source.recognises(payload):
            return name
    raise InvalidInput("source", f"not recognised; name it: {', '.join(sources.kinds)}")


def split_documents(text: bytes | str) -> tuple[list[Any], list[Rejection]]:
    """The JSON documents of a text: one, or one a line. A bad line is set apart (index: its line).

    Raises `InvalidInput` when nothing in it is JSON.
    """
    raw = text.encode() if isinstance(text, str) else text
    try:
        return [msgspec.json.decode(raw)], []
    except (msgspec.DecodeError, RecursionError) as error:
        whole = str(error)
    documents: list[Any] = []
    rejected: list[Rejection] = []
    lines = [line for line in raw.splitlines() if line.strip()]
    if len(lines) > 1:
        for index, line in enumerate(lines):
            try:
                documents.append(msgspec.json.decode(line))
            except (msgspec.DecodeError, RecursionError) as error:
                rejected.append(rejection(index, InvalidInput("line", f"is not JSON: {error}"), line))
    if not documents:
        raise InvalidInput("body", f"is not JSON: {whole}")
    return documents, rejected


def parse_documents(
    documents: list[Any], source: str, *, cluster: str, now: datetime, sources: Registry[Source] = SOURCES
) -> ParseResult:
    """All documents through one source, or each through the one that recognises it (`auto`).

    A document that is an array may be a payload of its sort itself, or an array of payloads.
    """
    result = ParseResult([], [])
    for document in documents:
        if not isinstance(document, list) or _whole(document, source, sources):
            _parse_one(document, source, cluster, now, sources, result)
        else:
            for part in document:
                _parse_one(part, source, cluster, now, sources, result)
    return result


def _whole(document: list[Any], source: str, sources: Registry[Source]) -> bool:
    if source == AUTO:
        return any(thing.recognises(document) for _, thing in sources)
    return not any(isinstance(part, dict) and ("alerts" in part or "items" in part) for part in document)


def _parse_one(
    document: Any,
    source: str,
    cluster: str,
    now: datetime,
    sources: Registry[Source],
    result: ParseResult,
) -> None:
    first = result.size
    try:
        name = autodetect(document, sources) if source == AUTO else source
        parsed = sources[name].parse(document, cluster=cluster, now=now)
    except InvalidInput as error:
        result.rejected.append(rejection(first, error, msgspec.json.encode(document)))
        return
    result.signals.extend(parsed.signals)
    result.rejected.extend(replace(item, index=item.index + first) for item in parsed.rejected)


def decode_file(text: str, source: str, cluster: str, now: datetime) -> ParseResult:
    """The signals of a file: one payload, an array of payloads, or one a line. `source` may be `auto`.

    Raises `InvalidInput` for an unknown source and for a text without any JSON.
    """
    if source != AUTO:
        _ = SOURCES[source]
    documents, rejected = split_documents(text)
    result = parse_documents(documents, source, cluster=cluster, now=now)
    result.rejected.extend(rejected)
    return result


def decode_signal(raw: bytes) -> Signal:
    """One message of the stream. Raises `InvalidInput` for what cannot be processed."""
    if len(raw) > LARGEST_SIGNAL * 2:
        raise InvalidInput("body", "is too large")
    if b"\\u0000" in raw:
        raise InvalidInput("body", "holds NUL characters")
    signal = check_signal(parse_signal(raw))
    # Our own gateway has sealed it; other publishers may leave that to us.
    return signal if signal.fingerprint and _id.fullmatch(signal.id) else signal.sealed()
