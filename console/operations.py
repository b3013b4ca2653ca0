"""Health and metrics of the process: readable without an identity, so they say no more than they must."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, Response

from console.desk import desk_of
from console.rendering import masked
from cortexops.domain.errors import CortexError
from cortexops.metrics import UNHEALTHY

router = APIRouter(tags=["operations"])
_PATIENCE = 5.0
_BESIDE = frozenset({"approval_watch", "delivery", "slack_socket"})
"""Without these people can still look and answer here: to take the console away would make it worse."""


@router.get("/debug/healthz")
async def healthz(request: Request) -> JSONResponse:
    """Every component by name: 503 when one is ill without which nothing can be looked at or answered."""
    found: dict[str, str | None]
    try:
        found = await asyncio.wait_for(desk_of(request).components(), _PATIENCE)
    except TimeoutError:
        found = {"components": f"no answer within {_PATIENCE:g} s"}
    except CortexError as error:
        found = {"components": str(error)}
    components: dict[str, Any] = {}
    for name, trouble in sorted(found.items()):
        UNHEALTHY.labels(component=name).set(trouble is not None)
        components[name] = {"healthy": trouble is None, **({"detail": masked(trouble)} if trouble else {})}
    ill = {name for name, part in components.items() if not part["healthy"]}
    status = "unhealthy" if ill - _BESIDE else "degraded" if ill else "ok"
    body = {"status": status, "components": components}
    return JSONResponse(body, status_code=503 if status == "unhealthy" else 200)


@router.get("/metrics")
async def metrics() -> Response:
    """Prometheus text format."""
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})
