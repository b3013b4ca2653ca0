"""What an API server's refusal means to the caller."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import NamedTuple

import msgspec

from cortexops.domain.errors import (
    Conflict,
    CortexError,
    Forbidden,
    InvalidInput,
    NotFound,
    Rejected,
    TemporaryError,
)
from cortexops.domain.resource import JSON

_AUTHORIZER_SAYS = re.compile(r'User "[^"]*" cannot ')
"""RBAC's wording. Every other 403 (quota, limit range, webhook) is a refusal by admission."""

_TEST_FAILED = re.compile(r"\btest(ing)?\b.*\bfail(ed)?\b|\bvalue does not match\b", re.IGNORECASE)
_LONGEST_DELAY = 300.0  # seconds; a larger Retry-After would outlive every retry policy


class Target(NamedTuple):
    """What a request was about, for error texts."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        name = f" {self.name}" if self.name else ""
        return f"{self.verb} {self.resource}{name}{where}"

    @property
    def permission(self) -> str:
        """The missing permission as an administrator would grant it."""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{where}"


def parse_status(body: bytes) -> JSON:
    """The `Status` object in a response body; a body that is none becomes its `message`."""
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {"message": body[:500].decode("utf-8", errors="replace").strip()}
    return decoded if isinstance(decoded, dict) else {}


def is_unserved_path(status: JSON) -> bool:
    """Whether a 404 speaks of the path (this server lacks the resource) rather than of one object."""
    details = status.get("details") or {}
    return not details.get("name")


def _causes(status: JSON) -> list[JSON]:
    causes = (status.get("details") or {}).get("causes") or []
    return [cause for cause in causes if isinstance(cause, dict)]


def _text(status: JSON) -> str:
    message = str(status.get("message") or "").strip()
    extra = [str(cause.get("message") or "") for cause in _causes(status)]
    unsaid = [text for text in extra if text and text not in message]
    return "; ".join([message or "no message", *unsaid])


def _retry_delay(retry_after: str | None, default: float) -> timedelta:
    try:
        seconds = float(retry_after) if retry_after else default
    except ValueError:  # the HTTP date form, which API servers do not use
        seconds = default
    return timedelta(seconds=min(max(seconds, 0.0), _LONGEST_DELAY))


def error_for(
    code: int,
    status: JSON,
    target: Target,
    *,
    writing: bool,
    tests: bool = False,
    retry_after: str | None = None,
    secret: str = "",
) -> CortexError:
    """The domain's error for an HTTP answer of 400 or more. `secret` is blotted out of the text.

    `tests` says that a JSON Patch with `test` operations was sent. API servers answer a failed test with
    a 422 that names no object and no field, unlike every validation error.
    """
    text = _text(status)
    if secret:
        text = text.replace(secret, "***")
    if code == 401:
        return Forbidden(
            f"not authenticated: {target.permission} (401): {text}",
            verb=target.verb,
            resource=target.resource,
            namespace=target.namespace,
        )
    if code == 403:
        if writing and not _AUTHORIZER_SAYS.search(text):
            return Rejected(f"{target}: {text} (403)")
        return Forbidden(
            f"missing permission: {target.permission} (403)",
            verb=target.verb,
            resource=target.resource,
            namespace=target.namespace,
        )
    if code == 404:
        return NotFound(f"{target}: {text} (404)")
    if code in (409, 410):
        return Conflict(f"{target}: {text} ({code})")
    if code == 422 and tests and (_TEST_FAILED.search(text) or not status.get("details")):
        return Conflict(f"{target}: the object is not as the patch expects: {text} (422)")
    if code == 429 or code >= 500:
        delay = _retry_delay(retry_after, 1.0)
        return TemporaryError(f"{target}: {text} ({code})", delay=delay)
    return Rejected(f"{target}: {text} ({code})")


def unserved(kind: str) -> InvalidInput:
    """The error for a kind that the server does not offer in any version known to the product."""
    return InvalidInput("kind", f"this cluster's API server does not serve {kind}")
