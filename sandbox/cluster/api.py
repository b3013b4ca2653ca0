"""HTTP: one handler that finds out what is asked, by whom, and answers in Kubernetes' words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any, cast

import msgspec
import yaml
from aiohttp import web

from cortexops.domain.resource import JSON
from sandbox.cluster import discovery, protobuf, subresources
from sandbox.cluster.authz import Authorizer, Identity, Request, refusal
from sandbox.cluster.errors import (
    ApiError,
    bad_request,
    method_not_allowed,
    no_such_path,
    unsupported_media,
)
from sandbox.cluster.faults import Fault, Faults
from sandbox.cluster.kinds import Resource
from sandbox.cluster.logs import LogOptions, LogSource
from sandbox.cluster.paths import Place, parse, verb_of
from sandbox.cluster.podlogs import open_log
from sandbox.cluster.reading import Form, Query, Reader, one, parse_accept
from sandbox.cluster.selectors import selector_for
from sandbox.cluster.verbs import Deletion, Options, Verbs

_HEALTH = frozenset({"healthz", "livez", "readyz"})
_MOST_BODY = 3 * 1024 * 1024
_POLL = 0.05  # seconds between looks whether a client that is left hanging has gone
_YAML = ("application/yaml", "application/x-yaml")


def _flag(request: web.Request, name: str) -> bool:
    value = request.query.get(name)
    return value is not None and value.lower() in ("", "1", "true")


def _integer(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from error


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json", headers=headers
    )


def _failure(error: ApiError) -> web.Response:
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else None
    return _json(error.status, error.code, headers)


class Api:
    """The API server's handler."""

    def __init__(
        self, verbs: Verbs, authorizer: Authorizer, faults: Faults, logs: LogSource, address: str = ""
    ) -> None:
        self._verbs = verbs
        self._reader = Reader(verbs.store)
        self._authorizer = authorizer
        self._faults = faults
        self._logs = logs
        self.address = address
        self.requests = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        self.requests += 1
        try:
            fault = self._faults.match(request.method, request.path, request.query_string)
            if fault is not None:
                await self._misbehave(request, fault)
            answer = await self._answer(request)
        except ApiError as error:
            return _failure(error)
        if fault is not None and fault.hang_after_apply:
            await self._hang(request)
        return answer

    async def _misbehave(self, request: web.Request, fault: Fault) -> None:
        if fault.latency:
            await asyncio.sleep(fault.latency)
        if fault.hang:
            await self._hang(request)
        if fault.status:
            reason = "ServiceUnavailable" if fault.status == 503 else "InternalError"
            raise ApiError(
                fault.status,
                "TooManyRequests" if fault.status == 429 else reason,
                "the server is currently unable to handle the request",
                retry_after=fault.retry_after,
            )

    async def _hang(self, request: web.Request) -> None:
        """Answer nothing until the client has gone or the server stops."""
        while not self._faults.released.is_set():
            if request.transport is None or request.transport.is_closing():
                break
            await asyncio.sleep(_POLL)
        if request.transport is not None:
            request.transport.abort()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        who = self._authorizer.authenticate(request.headers.get("Authorization"))
        segments = [segment for segment in request.path.split("/") if segment]
        place = parse(segments)
        if place is None:
            asked = Request(verb=request.method.lower(), path=request.path)
            if not self._authorizer.allows(who, asked):
                raise refusal(who, asked)
            return self._about_itself(segments)
        verb = verb_of(request.method, place, watching=_flag(request, "watch"))
        if not self._authorizer.allows(who, place.request(verb)):
            raise refusal(who, place.request(verb))
        if place.resource is None:
            return await self._review(request, place, who)
        return await self._on_resource(request, place, place.resource, verb)

    async def _review(self, request: web.Request, place: Place, who: Identity) -> web.Response:
        if request.method != "POST":
            raise method_not_allowed()
        body = await self._body(request)
        return _json(subresources.review(self._authorizer, who, place.plural, body), 201)

    def _about_itself(self, segments: list[str]) -> web.Response:
        if not segments:
            return _json({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/openapi/v3", "/version"]})
        if segments[0] in _HEALTH:
            return web.Response(text="ok")
        rest = segments[1:]
        found: JSON | None = None
        if segments == ["version"]:
            found = discovery.version()
        elif segments == ["api"]:
            found = discovery.core_versions(self.address)
        elif segments == ["apis"]:
            found = discovery.groups()
        elif segments[0] == "api" and len(rest) == 1:
            found = discovery.resources(rest[0])
        elif segments[0] == "apis":
            found = discovery.group(rest[0]) if len(rest) == 1 else discovery.resources("/".join(rest))
        elif segments == ["openapi", "v2"]:
            found = discovery.swagger()
        elif segments == ["openapi", "v3"]:
            found = discovery.openapi_paths()
        elif segments[:2] == ["openapi", "v3"]:
            found = discovery.openapi("/".join(segments[3:]))
        if found is None:
            raise no_such_path()
        return _json(found)

    # -- resources -----------------------------------------------------------------------------------

    async def _on_resource(
        self, request: web.Request, place: Place, resource: Resource, verb: str
    ) -> web.StreamResponse:
        if place.subresource == "log":
            return await self._log(request, place, resource)
        form = parse_accept(request.headers.get("Accept", ""), request.query.get("includeObject", ""))
        if verb == "watch":
            lines = self._reader.watch(resource, place.namespace, self._query(request), form)
            return await self._stream(request, lines, "application/json")
        if verb == "list":
            return _json(self._reader.list(resource, place.namespace, self._query(request), form))
        namespace = place.namespace
        if namespace is None:
            raise method_not_allowed()
        if verb == "deletecollection":
            return await self._delete_collection(request, resource, namespace)
        if place.subresource:
            return await self._on_subresource(request, place, resource, verb)
        if verb == "get":
            return _json(one(resource, self._verbs.read(resource, namespace, place.name), form))
        body = await self._body(request)
        options = self._options(request, body)
        if verb == "create":
            return _json(one(resource, self._verbs.create(resource, namespace, body, options), form), 201)
        if verb == "update":
            obj = self._verbs.update(resource, namespace, place.name, body, options)
            return _json(one(resource, obj, form))
        if verb == "patch":
            obj = self._verbs.patch(resource, namespace, place.name, request.content_type, body, options)
            return _json(one(resource, obj, form))
        return self._delete(request, resource, namespace, place.name, body, form)

    async def _on_subresource(
        self, request: web.Request, place: Place, resource: Resource, verb: str
    ) -> web.Response:
        namespace, name, sub = place.namespace or "", place.name, place.subresource
        body = await self._body(request) if verb != "get" else None
        options = self._options(request, body)
        if sub == "status" and resource.status:
            if verb == "get":
                obj = self._verbs.read(resource, namespace, name)
            elif verb == "update":
                obj = self._verbs.update(resource, namespace, name, body, options, "status")
            elif verb == "patch":
                media = request.content_type
                obj = self._verbs.patch(resource, namespace, name, media, body, options, "status")
            else:
                raise method_not_allowed()
            return _json(one(resource, obj, Form()))
        if sub == "scale" and resource.scale:
            return _json(self._scale(verb, request.content_type, resource, place, body, options))
        if sub in ("eviction", "binding") and resource.kind == "Pod":
            if verb != "create":
                raise method_not_allowed()
            act = subresources.evict if sub == "eviction" else subresources.bind
            return _json(act(self._verbs, namespace, name, body, dry_run=options.dry_run), 201)
        raise no_such_path()

    def _scale(
        self, verb: str, media_type: str, resource: Resource, place: Place, body: Any, options: Options
    ) -> JSON:
        namespace, name = place.namespace or "", place.name
        if verb == "get":
            return subresources.scale_of(self._verbs.read(resource, namespace, name))
        if verb == "update":
            return subresources.set_scale(self._verbs, resource, namespace, name, body, options)
        if verb == "patch":
            return subresources.patch_scale(self._verbs, resource, namespace, name, media_type, body, options)
        raise method_not_allowed()

    def _delete(
        self, request: web.Request, resource: Resource, namespace: str, name: str, body: Any, form: Form
    ) -> web.Response:
        how = self._deletion(request, body)
        uid = self._verbs.read(resource, namespace, name)["metadata"]["uid"]
        obj, gone = self._verbs.delete(resource, namespace, name, how)
        if gone and resource.kind != "Pod":
            details = {"name": name, "kind": resource.plural, "uid": uid}
            if resource.group:
                details["group"] = resource.group
            return _json(subresources.success(details))
        return _json(one(resource, obj, form))

    def _deletion(self, request: web.Request, body: Any) -> Deletion:
        """`DeleteOptions` from the body or else from the query: a body silences the query."""
        given: JSON = dict(body) if isinstance(body, dict) else {}
        if not given:
            grace = _integer(request, "gracePeriodSeconds")
            given = {} if grace is None else {"gracePeriodSeconds": grace}
            given["propagationPolicy"] = request.query.get("propagationPolicy", "")
        return subresources.deletion(given, dry_run=self._dry_run(request, body))

    async def _delete_collection(
        self, request: web.Request, resource: Resource, namespace: str
    ) -> web.Response:
        body = await self._body(request)
        how = self._deletion(request, body)
        query = self._query(request)
        chosen = selector_for(resource, query.labels, query.fields)
        listed = self._reader.list(resource, namespace, query, Form())
        for obj in listed["items"]:
            if chosen is None or chosen(obj):
                with suppress(ApiError):  # deleted meanwhile
                    self._verbs.delete(resource, namespace, obj["metadata"]["name"], how)
        return _json(listed)

    # -- parameters ----------------------------------------------------------------------------------

    @staticmethod
    def _query(request: web.Request) -> Query:
        get = request.query.get
        return Query(
            labels=get("labelSelector", ""),
            fields=get("fieldSelector", ""),
            resource_version=get("resourceVersion", ""),
            match=get("resourceVersionMatch", ""),
            limit=_integer(request, "limit") or 0,
            token=get("continue", ""),
            timeout_seconds=_integer(request, "timeoutSeconds") or 0,
            bookmarks=_flag(request, "allowWatchBookmarks"),
            initial_events=_flag(request, "sendInitialEvents"),
        )

    @staticmethod
    def _dry_run(request: web.Request, body: Any) -> bool:
        asked = request.query.getall("dryRun", [])
        if body and isinstance(body, dict) and request.method == "DELETE":
            asked = body.get("dryRun") or []
        if asked and asked != ["All"]:
            raise bad_request(f'Invalid value: "{asked[0]}": dryRun: supported values: "All"')
        return bool(asked)

    def _options(self, request: web.Request, body: Any) -> Options:
        agent = request.headers.get("User-Agent", "unknown").split("/")[0]
        manager = request.query.get("fieldManager") or agent
        return Options(manager, self._dry_run(request, body))

    @staticmethod
    async def _body(request: web.Request) -> Any:
        data = await request.read()
        if len(data) > _MOST_BODY:
            raise ApiError(413, "RequestEntityTooLarge", f"limit is {_MOST_BODY}")
        if not data:
            return {}
        media = request.content_type
        try:
            if media in _YAML:
                return yaml.safe_load(data)
            if media == protobuf.MEDIA_TYPE:
                return protobuf.decode(data)
            if "cbor" in media:
                raise unsupported_media("application/json", "application/yaml")
            if media == "application/apply-patch+yaml":
                raise unsupported_media(
                    "application/json-patch+json",
                    "application/merge-patch+json",
                    "application/strategic-merge-patch+json",
                )
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise bad_request(
                f"the object provided is unrecognized: couldn't get version/kind; json parse error: {error}"
            ) from error

    # -- streams -------------------------------------------------------------------------------------

    @staticmethod
    async def _stream(
        request: web.Request, pieces: AsyncIterator[bytes], content_type: str
    ) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = content_type
        generator = cast("Any", pieces)
        async with aclosing(generator):
            first = b""
            if content_type == "text/plain":  # a refusal must come before the headers
                first = await anext(generator, b"")
            await response.prepare(request)
            with suppress(ConnectionError):  # the client has what it wanted
                await response.write(first)
                async for piece in generator:
                    await response.write(piece)
        return response

    async def _log(self, request: web.Request, place: Place, resource: Resource) -> web.StreamResponse:
        if resource.kind != "Pod" or request.method != "GET" or place.namespace is None:
            raise no_such_path()
        pod = self._verbs.read(resource, place.namespace, place.name)
        options = LogOptions(
            container=request.query.get("container", ""),
            previous=_flag(request, "previous"),
            follow=_flag(request, "follow"),
            timestamps=_flag(request, "timestamps"),
            tail_lines=_integer(request, "tailLines"),
            limit_bytes=_integer(request, "limitBytes"),
            since_seconds=_integer(request, "sinceSeconds"),
            since_time=request.query.get("sinceTime", ""),
        )
        return await self._stream(request, open_log(self._logs, pod, options), "text/plain")
