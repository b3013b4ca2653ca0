"""The gateway: webhooks in, 202 once the stream has them, 503 while it cannot."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

import cortexops
from cortexops.domain.errors import InvalidInput, PermanentError, TemporaryError
from cortexops.metrics import SIGNALS_REJECTED, UNHEALTHY
from cortexops.ports.bus import SignalSink
from cortexops.registry import Registry
from cortexops.settings import Settings
from cortexops.settings_ingest import GatewaySettings
from cortexops.telemetry import get_logger
from ingest.accept import accept, ignore, refuse
from ingest.decode import parse_documents, split_documents
from ingest.source import (
    Assembles,
    ParseResult,
    Rejection,
    Source,
    cluster_name,
    rejection,
)
from ingest.sources import SOURCES, ChecksSecrets, Secrets, Unauthorised, verify, verify_token

_MOST_NAMED = 1000  # rejected items that an answer names; all of them are parked
_MOST_REJECTED = 10_000  # of one body; one with more is refused and parked as a whole
_CHALLENGE = 'Bearer, Basic realm="cortexops"'
_log = get_logger(__name__)


class RejectedItem(BaseModel):
    """One item that was not taken."""

    index: int = Field(description="position in the payload, from 0")
    field: str
    message: str


class IngestAnswer(BaseModel):
    """What became of a payload. Accepted and duplicate signals are in the stream's storage."""

    accepted: int
    duplicates: int
    ignored: int = Field(0, description="items that tell of no beginning and no end")
    ignored_reasons: dict[str, int] = Field({}, description="how many of each reason")
    rejected: list[RejectedItem] = Field([], description="the first 1000; all are parked")
    rejected_total: int = 0


class Problem(BaseModel):
    """Why a request was refused."""

    error: str
    rejected: list[RejectedItem] = []
    rejected_total: int = 0


class _Refused(Exception):
    def __init__(self, status: int, error: str, **headers: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = headers


_ANSWERS: dict[int | str, dict[str, Any]] = {
    202: {"model": IngestAnswer},
    400: {"model": Problem, "description": "the body is not JSON, or the cluster no name of one"},
    401: {"model": Problem, "description": "the token or the signature is missing or wrong"},
    404: {"model": Problem, "description": "no such source"},
    413: {"model": Problem, "description": "the body is too large"},
    422: {"model": Problem, "description": "nothing in the body is a signal"},
    503: {
        "model": Problem,
        "description": "the stream takes nothing now; send again after Retry-After",
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {}},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    },
    "parameters": [
        {
            "name": "cluster",
            "in": "query",
            "description": "cluster of items that name none; gateway.default_cluster when absent",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,63}$"},
        }
    ],
    "security": [{"token": []}],
}


def _json(status: int, body: BaseModel, **headers: str) -> Response:
    content = msgspec.json.encode(body.model_dump())
    return Response(content, status, headers=headers, media_type="application/json")


async def _body(request: Request, most: int) -> bytes:
    """The body, never more of it than `most` bytes in memory, whatever the headers claim."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _Refused(413, f"the body is larger than {most} bytes", Connection="close")
        parts.append(part)
    return b"".join(parts)


def _secrets(settings: GatewaySettings, sources: Registry[Source]) -> dict[str, Secrets]:
    """What each source demands of its senders; a source that is not in it takes the gateway's token.

    Raises `InvalidInput` for what cannot be used: better at start than as a door that stands open.
    """
    if unknown := sorted(set(settings.source_secrets) - set(sources.kinds)):
        raise InvalidInput(f"gateway.source_secrets.{unknown[0]}", "is no source")
    found = {
        name: Secrets(tuple(secret.get_secret_value() for secret in secrets))
        for name, secrets in settings.source_secrets.items()
    }
    if settings.sns_certificates:
        try:
            certificates = tuple(path.read_bytes() for path in settings.sns_certificates)
        except OSError as error:
            raise InvalidInput("gateway.sns_certificates", f"cannot be read: {error.strerror}") from None
        plain = found.get("cloudwatch", Secrets())
        found["cloudwatch"] = plain._replace(certificates=certificates, topics=settings.sns_topics)
    for name, secrets in found.items():
        source = sources[name]
        if isinstance(source, ChecksSecrets):
            source.check_secrets(secrets)
    return found


class _Gateway:
    def __init__(self, settings: Settings, bus: SignalSink, sources: Registry[Source]) -> None:
        self._settings = settings.gateway
        self._token = settings.gateway.token.get_secret_value() if settings.gateway.token else None
        self._secrets = _secrets(settings.gateway, sources)
        self._bus = bus
        self._sources = sources

    async def ingest(self, request: Request, source: str) -> Response:
        try:
            return await self._ingest(request, source)
        except _Refused as refused:
            return _json(refused.status, Problem(error=refused.error), **refused.headers)
        except TemporaryError as error:
            _log.warning("signals turned away", source=source[:63], error=str(error))
            seconds = max(1, math.ceil(error.delay.total_seconds()))
            return _json(503, Problem(error=str(error)), **{"Retry-After": str(seconds)})

    async def _ingest(self, request: Request, source: str) -> Response:
        now = datetime.now(UTC)
        headers = dict(request.headers)
        signed = source in self._secrets
        if not signed:
            self._authorize(headers, source)
        if source not in self._sources:
            known = ", ".join(self._sources.kinds)
            raise _Refused(404, f"unknown source {source[:63]!r}; known are {known}")
        body = await _body(request, self._settings.max_body_bytes)
        if signed:
            self._verify(headers, source, body, now)
        cluster = self._cluster(request)
        parsed = self._parse(source, headers, body, cluster, now)
        return await self._take(source, cluster, body, parsed)

    def _authorize(self, headers: Mapping[str, str], source: str) -> None:
        if self._token is None:
            return
        try:
            verify_token(headers, [self._token])
        except Unauthorised as error:
            raise self._unauthorised(source, error) from None

    def _verify(self, headers: Mapping[str, str], source: str, body: bytes, now: datetime) -> None:
        try:
            verify(self._sources[source], headers, body, self._secrets[source], now)
        except Unauthorised as error:
            raise self._unauthorised(source, error) from None

    def _unauthorised(self, source: str, error: Unauthorised) -> _Refused:
        known = source in self._sources
        SIGNALS_REJECTED.labels(source if known else "unknown", "unauthorised").inc()
        challenge = getattr(self._sources[source], "challenge", _CHALLENGE) if known else _CHALLENGE
        return _Refused(401, str(error), **{"WWW-Authenticate": challenge})

    def _cluster(self, request: Request) -> str:
        """That of items which name none."""
        named = request.query_params.get("cluster")
        if named is None:
            return self._settings.default_cluster
        try:
            return cluster_name(named, "cluster")
        except InvalidInput as error:
            raise _Refused(400, f"query parameter {error}") from None

    def _parse(
        self, source: str, headers: Mapping[str, str], body: bytes, cluster: str, now: datetime
    ) -> ParseResult:
        try:
            documents, bad_lines = split_documents(body)
        except InvalidInput as error:
            SIGNALS_REJECTED.labels(source, "malformed").inc()
            raise _Refused(400, str(error)) from None
        reader = self._sources[source]
        if isinstance(reader, Assembles):
            documents = [reader.assemble(headers, document) for document in documents]
        try:
            parsed = parse_documents(documents, source, cluster=cluster, now=now, sources=self._sources)
        except InvalidInput as error:
            SIGNALS_REJECTED.labels(source, "malformed").inc()
            raise _Refused(413, str(error)) from None
        parsed.rejected.extend(bad_lines)
        return parsed

    async def _take(self, source: str, cluster: str, body: bytes, parsed: ParseResult) -> Response:
        rejected = parsed.rejected
        if len(rejected) > _MOST_REJECTED:
            error = f"more than {_MOST_REJECTED} items are no signals, so nothing of it was taken"
            await refuse(self._bus, source, cluster, [rejection(0, InvalidInput("body", error), body)])
            return _json(422, Problem(error=error, rejected=_named(rejected), rejected_total=len(rejected)))
        accepted = await accept(self._bus, parsed.signals)
        await refuse(self._bus, source, cluster, rejected)
        reasons = await ignore(self._bus, source, parsed.ignored)
        items = _named(rejected)
        if items and not parsed.signals and not parsed.ignored:
            fields = ", ".join(sorted({item.field for item in items}))
            problem = f"nothing in the body is a signal: {fields[:500]}"
            return _json(422, Problem(error=problem, rejected=items, rejected_total=len(rejected)))
        answer = IngestAnswer(
            accepted=accepted.new,
            duplicates=accepted.duplicates,
            ignored=len(parsed.ignored),
            ignored_reasons=reasons,
            rejected=items,
            rejected_total=len(rejected),
        )
        return _json(202, answer)


def _named(rejected: list[Rejection]) -> list[RejectedItem]:
    return [
        RejectedItem(index=item.index, field=item.field, message=item.message)
        for item in rejected[:_MOST_NAMED]
    ]


def create_gateway(
    settings: Settings,
    bus: SignalSink,
    *,
    sources: Registry[Source] = SOURCES,
    watched: Callable[[], Mapping[str, str | None]] = dict,
) -> FastAPI:
    """The application. It owns nothing: whoever made the bus closes it. `watched` says of each cluster that is
    watched what is wrong with that, or None."""
    gateway = _Gateway(settings, bus, sources.discover())
    app = FastAPI(
        title="CortexOps gateway",
        version=cortexops.__version__,
        description="Takes signals from monitoring. 202 means that they are stored.",
        docs_url=None,
        redoc_url=None,
    )

    @app.post(
        "/webhooks/{source}",
        status_code=202,
        responses=_ANSWERS,
        openapi_extra=_BODY,
        response_model=IngestAnswer,
        summary="A payload in the sender's own format",
    )
    async def webhook(request: Request, source: str) -> Response:
        return await gateway.ingest(request, source)

    @app.post(
        "/pagerduty/webhook",
        status_code=202,
        responses=_ANSWERS,
        openapi_extra=_BODY,
        response_model=IngestAnswer,
        summary="The same as /webhooks/pagerduty",
    )
    async def pagerduty(request: Request) -> Response:
        return await gateway.ingest(request, "pagerduty")

    @app.post(
        "/api/v1/signals",
        status_code=202,
        responses=_ANSWERS,
        openapi_extra=_BODY,
        response_model=IngestAnswer,
        summary="cortexops.signal/v1 documents: one, an array, or one a line",
    )
    async def signals(request: Request) -> Response:
        return await gateway.ingest(request, "signals")

    @app.get("/debug/healthz", summary="Each component by name; 503 when signals cannot be taken")
    async def healthz() -> JSONResponse:
        try:
            problem = await bus.health()
        except PermanentError as error:
            problem = str(error)
        watching = {f"watch {name}": fault for name, fault in watched().items()}
        components = {"nats": problem, **watching}
        for name, fault in components.items():
            UNHEALTHY.labels(component=name).set(0 if fault is None else 1)
        # A cluster that cannot be watched keeps nobody else's signals out: other senders must still find us.
        well = not any(components.values())
        status = "unhealthy" if problem is not None else "ok" if well else "degraded"
        body = {
            "status": status,
            "components": {
                name: {"healthy": fault is None, "detail": fault or ""} for name, fault in components.items()
            },
        }
        return JSONResponse(body, status_code=200 if problem is None else 503)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    _declare_token(app)
    return app


def _declare_token(app: FastAPI) -> None:
    """Name the bearer token in the OpenAPI document; the check itself runs before the body is read."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        schema = make()
        components = schema.setdefault("components", {})
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
