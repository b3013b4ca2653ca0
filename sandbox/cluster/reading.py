"""Get, list and watch: selectors, pages, snapshots, bookmarks."""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec

from cortexops.domain.resource import JSON
from sandbox.cluster import tables
from sandbox.cluster.errors import ApiError, bad_request, gone, too_old
from sandbox.cluster.kinds import Resource
from sandbox.cluster.selectors import Predicate, selector_for
from sandbox.cluster.store import Change, Key, Store, TooOld

_BOOKMARK_SECONDS = 60.0
_INITIAL_END = "k8s.io/initial-events-end"
_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new "
    "list without the continue parameter."
)


class Form(NamedTuple):
    """How the client wants objects: whole, as table rows, or metadata only."""

    shape: str = ""  # "", "Table", "PartialObjectMetadata"
    include: str = "Metadata"


def parse_accept(accept: str, include: str) -> Form:
    """The first form in an Accept header that this server has. Raises `ApiError` (406)."""
    for choice in accept.split(","):
        parts = [piece.strip() for piece in choice.split(";")]
        parameters = dict(piece.split("=", 1) for piece in parts[1:] if "=" in piece)
        if parts[0] not in ("application/json", "*/*", "application/*", ""):
            continue
        wanted = parameters.get("as", "")
        if wanted in ("", "Table") and parameters.get("v", "v1") == "v1":
            return Form(wanted, include or "Metadata")
        if wanted.startswith("PartialObjectMetadata"):
            return Form("PartialObjectMetadata")
    message = "only the following media types are accepted: application/json"
    raise ApiError(406, "NotAcceptable", message)


def typed(resource: Resource, obj: JSON) -> JSON:
    """An object with its kind, which the store leaves out."""
    return {"kind": resource.kind, "apiVersion": resource.api_version} | obj


def one(resource: Resource, obj: JSON, form: Form) -> JSON:
    """A single object in the asked form."""
    if form.shape == "Table":
        version = obj["metadata"].get("resourceVersion", "")
        return tables.table(resource, [obj], {"resourceVersion": version}, include=form.include)
    if form.shape:
        return tables.partial(obj)
    return typed(resource, obj)


class Query(NamedTuple):
    """The parameters of list and watch."""

    labels: str = ""
    fields: str = ""
    resource_version: str = ""
    match: str = ""
    limit: int = 0
    token: str = ""
    timeout_seconds: int = 0
    bookmarks: bool = False
    initial_events: bool = False


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise bad_request(f'Invalid value: "{text}": strconv.ParseUint: invalid syntax') from error


class Reader:
    """Reads from a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(self, resource: Resource, namespace: str | None, query: Query, form: Form) -> JSON:
        """A list, or one page of it. Raises `ApiError` (400, 410)."""
        chosen = selector_for(resource, query.labels, query.fields)
        version, after = self._snapshot(query)
        try:
            pairs = self._store.listing_at(resource.key, namespace, version)
        except TooOld:
            raise gone(_EXPIRED) from None
        if after is not None:
            pairs = [pair for pair in pairs if pair[0] > after]
        if chosen is not None:
            pairs = [pair for pair in pairs if chosen(pair[1])]
        metadata: JSON = {"resourceVersion": str(version)}
        if query.limit and len(pairs) > query.limit:
            left = len(pairs) - query.limit
            pairs = pairs[: query.limit]
            metadata["continue"] = _token(version, pairs[-1][0])
            if chosen is None:
                metadata["remainingItemCount"] = left
        objects = [obj for _, obj in pairs]
        if form.shape == "Table":
            return tables.table(resource, objects, metadata, include=form.include)
        if form.shape:
            items = [tables.partial(obj) for obj in objects]
            kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
            return {"kind": kind, "apiVersion": api_version, "metadata": metadata, "items": items}
        kind = f"{resource.kind}List"
        return {"kind": kind, "apiVersion": resource.api_version, "metadata": metadata, "items": objects}

    def _snapshot(self, query: Query) -> tuple[int, Key | None]:
        if query.token:
            return _read_token(query.token)
        if query.match == "Exact":
            return _number(query.resource_version), None
        if query.resource_version:
            _number(query.resource_version)
        return self._store.version, None

    async def watch(
        self, resource: Resource, namespace: str | None, query: Query, form: Form
    ) -> AsyncIterator[bytes]:
        """Watch events, one JSON line each, until the time-out."""
        chosen = selector_for(resource, query.labels, query.fields)
        fresh = query.resource_version in ("", "0")
        since = None if fresh else _number(query.resource_version)
        start = self._store.version
        try:
            watch = self._store.watch(resource.key, since)
        except TooOld as error:
            yield _line("ERROR", too_old(since or 0, error.oldest).status)
            return
        emitter = _Emitter(resource, form)
        try:
            if fresh or query.initial_events:
                for _, obj in self._store.listing(resource.key, namespace):
                    if (fresh or query.initial_events) and (chosen is None or chosen(obj)):
                        yield emitter.event("ADDED", obj)
                if query.initial_events:
                    yield emitter.bookmark(start, initial_end=True)
            deadline = time.monotonic() + (query.timeout_seconds or 1800)
            while True:
                left = deadline - time.monotonic()
                wait = min(left, _BOOKMARK_SECONDS) if query.bookmarks else left
                try:
                    change = await watch.next(max(0.0, wait))
                except TimeoutError:
                    if query.bookmarks:
                        yield emitter.bookmark(self._store.version)
                    if time.monotonic() >= deadline:
                        return
                    continue
                if change is None:
                    return
                event = _as_seen(change, namespace, chosen)
                if event is not None:
                    yield emitter.event(event, change.last)
        finally:
            self._store.unwatch(watch)


def _as_seen(change: Change, namespace: str | None, chosen: Predicate | None) -> str | None:
    """What a change is to a watcher with a selector; None when it does not concern him."""
    if namespace is not None and change.key[0] != namespace:
        return None
    was = change.before is not None and (chosen is None or chosen(change.before))
    now = change.after is not None and (chosen is None or chosen(change.after))
    if was and now:
        return "MODIFIED"
    if now:
        return "ADDED"
    return "DELETED" if was else None


class _Emitter:
    """Writes watch lines; a table's headings go with its first row only."""

    def __init__(self, resource: Resource, form: Form) -> None:
        self._resource = resource
        self._form = form
        self._heads = True

    def event(self, kind: str, obj: JSON) -> bytes:
        return _line(kind, self._shaped(obj))

    def _shaped(self, obj: JSON) -> JSON:
        if self._form.shape != "Table":
            return one(self._resource, obj, self._form)
        heads, self._heads = self._heads, False
        version = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        return tables.table(self._resource, [obj], version, include=self._form.include, heads=heads)

    def bookmark(self, version: int, *, initial_end: bool = False) -> bytes:
        metadata: JSON = {"resourceVersion": str(version), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {_INITIAL_END: "true"}
        if self._form.shape == "Table":
            empty: JSON = {
                "kind": "Table",
                "apiVersion": "meta.k8s.io/v1",
                "rows": [],
                "columnDefinitions": None,
            }
            return _line("BOOKMARK", empty | {"metadata": metadata})
        return _line("BOOKMARK", one(self._resource, {"metadata": metadata}, self._form))


def _line(kind: str, obj: JSON) -> bytes:
    return msgspec.json.encode({"type": kind, "object": obj}) + b"\n"


def _token(version: int, key: Key) -> str:
    plain = msgspec.json.encode({"v": "meta.k8s.io/v1", "rv": version, "start": list(key)})
    return base64.urlsafe_b64encode(plain).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, Key]:
    try:
        plain = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        decoded = msgspec.json.decode(plain)
        namespace, name = decoded["start"]
        return int(decoded["rv"]), (str(namespace), str(name))
    except (binascii.Error, msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise bad_request("invalid continue token: continue key is not valid") from error
