"""Errors as answers: `{error, field?, hint}` for programs, a page for people."""

from __future__ import annotations

import math
from urllib.parse import quote

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response

from console.identity import HOW_TO_ADD, Unauthenticated
from console.rendering import render
from cortexops.domain.approval import VoteRefusal
from cortexops.domain.errors import Conflict, CortexError, Forbidden, InvalidInput, NotFound, TemporaryError
from cortexops.domain.people import VoteNotCounted

_IDENTITY_FIELDS = {"approver", "person", "user", "actor", "identity", "roles", "name", "created_by"}
_FORBIDDEN_VOTES = {VoteRefusal.WRONG_ROLE, VoteRefusal.PROPOSER, VoteRefusal.ANONYMOUS}


def status_of(error: Exception) -> int:
    """The HTTP status that says what the caller should do."""
    if isinstance(error, VoteNotCounted):
        if error.refusal is VoteRefusal.NO_SUCH_APPROVAL:
            return 404
        return 403 if error.refusal in _FORBIDDEN_VOTES else 409
    kinds: tuple[tuple[type[Exception], int], ...] = (
        (Unauthenticated, 401),
        (InvalidInput, 422),
        (RequestValidationError, 422),
        (NotFound, 404),
        (Forbidden, 403),
        (Conflict, 409),
        (TemporaryError, 503),
    )
    if isinstance(error, HTTPException):
        return error.status_code
    return next((status for kind, status in kinds if isinstance(error, kind)), 500)


def body_of(error: Exception) -> dict[str, str]:
    """The answer's fields. Texts of unknown errors stay inside."""
    if isinstance(error, RequestValidationError):
        return _validation(error)
    if isinstance(error, HTTPException):
        return {"error": str(error.detail), "hint": "See /openapi.json for what there is."}
    if isinstance(error, InvalidInput):
        return {"error": str(error), "field": error.field, "hint": "Mend the field and send it again."}
    if isinstance(error, VoteNotCounted):
        hint = "Nothing was counted. GET /api/v1/approvals shows where it stands."
        return {"error": str(error), "refusal": error.refusal.value, "hint": hint}
    if isinstance(error, Unauthenticated):
        return {"error": str(error), "hint": HOW_TO_ADD}
    if isinstance(error, TemporaryError):
        return {"error": str(error), "hint": "Nothing was done. Try again in a moment."}
    if isinstance(error, CortexError):
        return {"error": str(error), "hint": "The same request would fail again."}
    return {"error": "internal error", "hint": "The log of the console has the details."}


def _validation(error: RequestValidationError) -> dict[str, str]:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    if first["type"] == "extra_forbidden" and first["loc"][-1] in _IDENTITY_FIELDS:
        return {
            "error": f"{place}: who acts is told by the token, never by the body",
            "field": place,
            "hint": "Leave the field out; send the person's own token as `Authorization: Bearer TOKEN`.",
        }
    return {"error": f"{place}: {first['msg']}", "field": place, "hint": "Mend the field and send it again."}


def error_response(connection: HTTPConnection, error: Exception) -> Response:
    """The answer in the form that the asker reads."""
    status, body = status_of(error), body_of(error)
    path: str = connection.scope["path"]
    for_people = not path.startswith(("/api/", "/debug/", "/metrics", "/slack/", "/openapi.json"))
    headers: dict[str, str] = {}
    if isinstance(error, TemporaryError):
        headers["retry-after"] = str(max(1, math.ceil(error.delay.total_seconds())))
    if for_people:
        if isinstance(error, Unauthenticated) and connection.scope["method"] == "GET":
            query = connection.scope.get("query_string", b"").decode("latin-1")
            return RedirectResponse(f"/login?next={quote(path + (f'?{query}' if query else ''))}", 303)
        return render(connection, "error.html", {"status": status, **body}, status=status, headers=headers)
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="cortexops"'
    return JSONResponse(body, status_code=status, headers=headers)
