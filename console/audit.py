"""The audit trail for SIEMs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import StreamingResponse

import cortexops
from console.desk import desk_of
from cortexops.domain.audit import AuditEvent
from cortexops.domain.audit_export import ExportFormat, export_line
from cortexops.metrics import AUDIT_EXPORT_LAG
from cortexops.ports.store import AuditStore

router = APIRouter()
Row = tuple[int, AuditEvent]
_MEDIA = {"ndjson": "application/x-ndjson", "json": "application/json", "cef": "text/plain; charset=utf-8"}


@router.get("/audit/export", tags=["audit"])
async def audit_export(
    request: Request,
    after: Annotated[int, Query(ge=0, description="cursor of the last row that you have")] = 0,
    limit: Annotated[int, Query(ge=1, le=100_000)] = 10_000,
    format: Literal["ndjson", "cef", "json"] = "ndjson",
) -> StreamingResponse:
    """The trail as recorded, secrets masked: one event a line (or one JSON array) with its cursor.

    Ask again with the last cursor: no event is missed, however late its writer committed.
    """
    desk = desk_of(request)
    rows = desk.store.export(after=after, most=limit)
    first = await anext(rows, None)  # so that an unreachable store is an error, not an empty file
    form = ExportFormat.CEF if format == "cef" else ExportFormat.NDJSON
    lines = _lines(desk.store, first, rows, form)
    name = f"audit-{desk.clock():%Y%m%d}.{format}"
    return StreamingResponse(
        _array(lines) if format == "json" else _ended(lines),
        media_type=_MEDIA[format],
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


async def _lines(
    store: AuditStore, first: Row | None, rows: AsyncIterator[Row], form: ExportFormat
) -> AsyncIterator[str]:
    if first is None:
        AUDIT_EXPORT_LAG.set(0)
        return
    yield export_line(*first, form, version=cortexops.__version__)
    last = first[0]
    async for row in rows:
        yield export_line(*row, form, version=cortexops.__version__)
        last = row[0]
    AUDIT_EXPORT_LAG.set(await store.export_lag(last))


async def _ended(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    async for line in lines:
        yield line + "\n"


async def _array(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    yield "["
    between = ""
    async for line in lines:
        yield between + line
        between = ",\n"
    yield "]\n"
