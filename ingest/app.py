"""The gateway: webhooks in, 202 once the stream has them, 503 while it cannot."""

from __future__ import annotations

import hmac
import math
from datetime import UTC, datetime
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

import cortexops
from cortexops.domain.errors import InvalidInput, PermanentError, TemporaryError
from cortexops.metrics import SIGNALS_REJECTED
from cortexops.ports.bus import SignalSink
from cortexops.registry import Registry
from cortexops.settings import Settings
from cortexops.telemetry import get_logger
from ingest.accept import accept, refuse
from ingest.decode import parse_documents, split_documents
from ingest.source import Source
from ingest.sources import SOURCES

_MOST_REJECTIONS = 1000  # of one request that are parked and named; a body of more is not worth reading
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
    rejected: list[RejectedItem] = []


class Problem(BaseModel):
    """Why a request was refused."""

    error: str
    rejected: list[RejectedItem] = []


class _Refused(Exception):
    def __init__(self, status: int, error: str, **headers: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = headers


_ANSWERS: dict[int | str, dict[str, Any]] = {
    202: {"model": IngestAnswer},
    400: {"model": Problem, "description": "the body is not JSON"},
    401: {"model": Problem, "description": "the token is missing or wrong"},
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
    "security": [{"token": []}],
}


def _json(status: int, body: BaseModel, **headers: str) -> Response:
    content = msgspec.json.encode(body.model_dump())
    return Response(content, status, headers=headers, media_type="application/json")


def _authorize(request: Request, token: str | None) -> None:
    if token is None:
        return
    scheme, _, shown = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(shown.strip().encode(), token.encode()):
        raise _Refused(401, "a valid bearer token is needed", **{"WWW-Authenticate": "Bearer"})


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


class _Gateway:
    def __init__(self, settings: Settings, bus: SignalSink, sources: Registry[Source]) -> None:
        self._settings = settings.gateway
        self._token = settings.gateway.token.get_secret_value() if settings.gateway.token else None
        self._bus = bus
        self._sources = sources

    async def ingest(self, request: Request, source: str) -> Response:
        try:
            return await self._ingest(request, source)
        except _Refused as refused:
            return _json(refused.status, Problem(error=refused.error), **refused.headers)
        except TemporaryError as error:
            _log.warning("signals turned away", source=source, error=str(error))
            seconds = max(1, math.ceil(error.delay.total_seconds()))
            return _json(503, Problem(error=str(error)), **{"Retry-After": str(seconds)})

    async def _ingest(self, request: Request, source: str) -> Response:
        _authorize(request, self._token)
        if source not in self._sources:
            known = ", ".join(self._sources.kinds)
            raise _Refused(404, f"unknown source {source[:63]!r}; known are {known}")
        body = await _body(request, self._settings.max_body_bytes)
        try:
            documents, bad_lines = split_documents(body)
        except InvalidInput as error:
            SIGNALS_REJECTED.labels(source, "malformed").inc()
            raise _Refused(400, str(error)) from None
        cluster = self._settings.default_cluster
        parsed = parse_documents(
            documents, source, cluster=cluster, now=datetime.now(UTC), sources=self._sources
        )
        rejected = (parsed.rejected + bad_lines)[:_MOST_REJECTIONS]
        accepted = await accept(self._bus, parsed.signals)
        await refuse(self._bus, source, cluster, rejected)
        items = [RejectedItem(index=r.index, field=r.field, message=r.message) for r in rejected]
        if items and not parsed.signals:
            fields = ", ".join(sorted({item.field for item in items}))
            return _json(422, Problem(error=f"nothing in the body is a signal: {fields}", rejected=items))
        answer = IngestAnswer(accepted=accepted.new, duplicates=accepted.duplicates, rejected=items)
        return _json(202, answer)


def create_gateway(settings: Settings, bus: SignalSink, *, sources: Registry[Source] = SOURCES) -> FastAPI:
    """The application. It owns nothing: whoever made the bus closes it."""
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
        "/api/v1/signals",
        status_code=202,
        responses=_ANSWERS,
        openapi_extra=_BODY,
        response_model=IngestAnswer,
        summary="cortexops.signal/v1 documents: one, an array, or one a line",
    )
    async def signals(request: Request) -> Response:
        return await gateway.ingest(request, "signals")

    @app.get("/debug/healthz", summary="Each component by name; 503 when one is unhealthy")
    async def healthz() -> JSONResponse:
        try:
            problem = await bus.health()
        except PermanentError as error:
            problem = str(error)
        nats = {"healthy": problem is None, "detail": problem or ""}
        status = "ok" if problem is None else "unhealthy"
        body = {"status": status, "components": {"nats": nats}}
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
