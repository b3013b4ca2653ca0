"""Bytes to documents to signals: the same for webhooks, files and messages of the stream."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
from pydantic import ValidationError

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import SCHEMA, Signal, invalid_input, parse_signal, signal_type
from cortexops.registry import Registry
from ingest.labels import firing_times, split_resource
from ingest.source import (
    LARGEST_SIGNAL,
    LONGEST_LABEL,
    MOST_ITEMS,
    MOST_LABELS,
    SKEW_LABEL,
    ParseResult,
    Rejection,
    Source,
    bounded_labels,
    check_signal,
    clean_labels,
    one_line,
    raw_of,
    rejection,
    summary_text,
)
from ingest.sources import SOURCES

AUTO = "auto"
_LONGEST_FINGERPRINT = 64
_BOM = b"\xef\xbb\xbf"
_NO_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_id = re.compile(r"[0-9a-f]{32}")


def autodetect(payload: Any, sources: Registry[Source] = SOURCES) -> str:
    """The name of the source that recognises the payload. Raises `InvalidInput` when none does."""
    for name, source in sources:
        if source.recognises(payload):
            return name
    raise InvalidInput("source", f"not recognised; name it: {', '.join(sources.kinds)}")


def split_documents(text: bytes | str) -> tuple[list[Any], list[Rejection]]:
    """The JSON documents of a text: one, or one a line. A bad line is set apart (index: its line).

    Raises `InvalidInput` when nothing in it is JSON, or when it has more lines than a body may hold.
    """
    raw = (text.encode("utf-8", "replace") if isinstance(text, str) else text).removeprefix(_BOM)
    try:
        return [msgspec.json.decode(raw)], []
    except _NO_JSON as error:
        whole = _fault_of(error)
    documents: list[Any] = []
    rejected: list[Rejection] = []
    lines = [line for line in raw.splitlines() if line.strip()]
    if len(lines) > MOST_ITEMS:
        raise InvalidInput("body", f"holds more than {MOST_ITEMS} lines")
    if len(lines) > 1:
        for index, line in enumerate(lines):
            try:
                documents.append(msgspec.json.decode(line))
            except _NO_JSON as error:
                rejected.append(
                    rejection(index, InvalidInput("line", f"is not JSON: {_fault_of(error)}"), line)
                )
    if not documents:
        raise InvalidInput("body", f"is not JSON: {whole}")
    return documents, rejected


def _fault_of(error: Exception) -> str:
    """What is wrong with the JSON, without any of it."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def parse_documents(
    documents: list[Any], source: str, *, cluster: str, now: datetime, sources: Registry[Source] = SOURCES
) -> ParseResult:
    """All documents through one source, or each through the one that recognises it (`auto`).

    A document that is an array may be a payload of its sort itself, or an array of payloads.
    Raises `InvalidInput` when there are more items than a body may hold.
    """
    result = ParseResult([], [])
    for document in documents:
        if isinstance(document, list) and len(document) > MOST_ITEMS:
            raise InvalidInput("body", f"holds more than {MOST_ITEMS} items")
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
        result.rejected.append(rejection(first, error, raw_of(document)))
        return
    result.signals.extend(parsed.signals)
    result.rejected.extend(replace(item, index=item.index + first) for item in parsed.rejected)
    result.ignored.extend(replace(item, index=item.index + first) for item in parsed.ignored)


def decode_file(text: str, source: str, cluster: str, now: datetime) -> ParseResult:
    """The signals of a file: one payload, an array of payloads, or one a line. `source` may be `auto`.

    Raises `InvalidInput` for an unknown source and for a text without any JSON.
    """
    if source != AUTO:
        _ = SOURCES[source]
    documents, rejected = split_documents(text)
    documents = [_dated(document, now) for document in documents]
    result = parse_documents(documents, source, cluster=cluster, now=now)
    result.rejected.extend(rejected)
    return result


def _dated(document: Any, now: datetime) -> Any:
    """With a start of now for alerts that have none: somebody asks about them just now.

    Only for files: what is posted again and again without a start would be another alert each time.
    """
    if isinstance(document, list):
        return [_dated(item, now) for item in document]
    if not isinstance(document, dict):
        return document
    labels = document.get("labels")
    if isinstance(labels, dict) and not document.keys() & {"resource", "schema", "specversion"}:
        begun = document.get("startsAt") or document.get("activeAt")
        if begun and not str(begun).startswith("0001-01-01"):
            return document
        return {**document, "startsAt": now.isoformat()}
    found = dict(document)
    if isinstance(document.get("alerts"), list):
        found["alerts"] = [_dated(item, now) for item in document["alerts"]]
    if document.get("status") == "success" and isinstance(document.get("data"), dict):
        found["data"] = _dated(document["data"], now)
    return found


def decode_signal(raw: bytes) -> Signal:
    """One message of the stream: a document that our gateway has sealed, or any program's.

    Of others `id`, `fingerprint`, `source`, `type` and `received_at` may be absent, and `resource` may be
    text. Raises `InvalidInput` for what cannot be processed.
    """
    if len(raw) > LARGEST_SIGNAL * 2:
        raise InvalidInput("body", "is too large")
    try:
        signal = parse_signal(raw)
    except InvalidInput:
        return _others_document(raw)
    if not _is_clean(signal):
        return _others_document(raw)
    check_signal(signal)
    # Our own gateway has sealed it; other publishers may leave that to us.
    return signal if signal.fingerprint and _id.fullmatch(signal.id) else signal.sealed()


def _others_document(raw: bytes) -> Signal:
    try:
        document = msgspec.json.decode(raw)
    except _NO_JSON as error:
        raise InvalidInput("body", f"is not JSON: {_fault_of(error)}") from None
    return read_document(document, cluster="", now=None)


def _is_clean(signal: Signal) -> bool:
    words = "".join([signal.name, signal.fingerprint, *signal.labels, *signal.labels.values()])
    return words.isprintable() and len(signal.labels) <= MOST_LABELS + 1 and _clean_summary(signal.summary)


def _clean_summary(text: str) -> bool:
    return text.isprintable() or summary_text(text) == text


def read_document(item: Any, *, cluster: str, now: datetime | None) -> Signal:
    """A `cortexops.signal/v1` document, sealed. `cluster` is that of one that names none; `now` is when we
    received it, None for what waits in the stream: its times stay as they are, so that its id does too.

    Raises `InvalidInput` naming the first wrong field.
    """
    if not isinstance(item, dict):
        raise InvalidInput("body", "must be an object")
    if item.get("schema", SCHEMA) != SCHEMA:
        raise InvalidInput("schema", f"must be {SCHEMA}")
    known = {"source": "signals", **({"cluster": cluster} if cluster else {}), **item}
    resource = item.get("resource")
    _check_scalars({key: value for key, value in item.items() if key not in ("resource", "labels")})
    if isinstance(resource, dict):
        _check_scalars(resource, "resource.")
    if not isinstance(known.get("cluster"), str):
        raise InvalidInput("cluster", "is missing")
    if now is not None:
        known["received_at"] = now
    known["resource"] = _resource(known.get("resource"), known["cluster"])
    known["labels"] = bounded_labels(clean_labels(known.get("labels"), "labels"))
    known["summary"] = summary_text(known.get("summary"))
    name = known["name"] = one_line(known.get("name"), 254)
    known.setdefault("type", signal_type(name))
    if len(fingerprint := one_line(known.get("fingerprint"), LONGEST_LABEL)) > _LONGEST_FINGERPRINT:
        raise InvalidInput("fingerprint", f"is longer than {_LONGEST_FINGERPRINT} characters")
    known["fingerprint"], known["id"] = fingerprint, ""
    try:
        signal = Signal.model_validate(known)
    except ValidationError as error:
        raise invalid_input(error) from None
    if len(raw_of(item)) > LARGEST_SIGNAL:
        raise InvalidInput("body", f"is larger than {LARGEST_SIGNAL} bytes")
    check_signal(signal)
    return (signal if now is None else _timed(signal, now)).sealed()


def _check_scalars(fields: dict[str, Any], place: str = "") -> None:
    for name, value in fields.items():
        if isinstance(value, dict | list):
            raise InvalidInput(f"{place}{one_line(name, LONGEST_LABEL) or 'body'}", "must not be nested")


def _timed(signal: Signal, now: datetime) -> Signal:
    started, ended, skew = firing_times(signal.started_at, signal.ended_at, now)
    changes: dict[str, Any] = {"started_at": started, "ended_at": ended}
    if skew:
        changes["labels"] = {**signal.labels, SKEW_LABEL: str(skew)}
    return signal.model_copy(update=changes)


def _resource(value: Any, cluster: str) -> dict[str, Any]:
    if isinstance(value, str):
        kind, namespace, name = split_resource(value, "resource")
        return {"cluster": cluster, "kind": kind, "namespace": namespace, "name": name}
    if not isinstance(value, dict):
        raise InvalidInput("resource", "must be an object with kind, namespace and name, or text")
    return {"cluster": cluster, **value}
