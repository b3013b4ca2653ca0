"""Refusals in the shape of Kubernetes' `Status`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cortexops.domain.resource import JSON
from sandbox.cluster.kinds import Resource

_WATCH_GONE = "too old resource version: {version} ({oldest})"


class Cause(NamedTuple):
    """One field that is wrong."""

    reason: str
    field: str
    message: str

    @property
    def text(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class ApiError(Exception):
    """An answer of 400 or more."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: JSON | None = None,
        *,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.status: JSON = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details or {},
            "code": code,
        }
        if retry_after is not None:
            self.status["details"]["retryAfterSeconds"] = retry_after


def _named(resource: Resource, name: str) -> JSON:
    details: JSON = {"name": name, "kind": resource.plural}
    if resource.group:
        details["group"] = resource.group
    return details


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.key} "{name}" not found', _named(resource, name))


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(resource: Resource, name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{resource.key} "{name}" already exists', _named(resource, name))


def conflict(resource: Resource, name: str, message: str) -> ApiError:
    text = f'Operation cannot be fulfilled on {resource.key} "{name}": {message}'
    return ApiError(409, "Conflict", text, _named(resource, name))


def stale(resource: Resource, name: str) -> ApiError:
    return conflict(
        resource,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    details: JSON = {"name": name, "kind": resource.kind}
    if resource.group:
        details["group"] = resource.group
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in causes]
    texts = [cause.text for cause in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return ApiError(422, "Invalid", f'{resource.qualified_kind} "{name}" is invalid: {text}', details)


def unprocessable_patch() -> ApiError:
    """A JSON Patch that does not apply: the real server names neither the operation nor the object."""
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request")


def forbidden(resource: Resource, name: str, message: str, causes: Sequence[JSON] = ()) -> ApiError:
    """Refused by admission."""
    details = _named(resource, name)
    if causes:
        details["causes"] = list(causes)
    return ApiError(403, "Forbidden", f'{resource.key} "{name}" is forbidden: {message}', details)


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def unsupported_media(*accepted: str) -> ApiError:
    message = "the body of the request was in an unknown format - accepted media types include: "
    return ApiError(415, "UnsupportedMediaType", message + ", ".join(accepted))


def method_not_allowed() -> ApiError:
    return ApiError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
    )


def gone(message: str) -> ApiError:
    return ApiError(410, "Expired", message)


def too_old(version: int, oldest: int) -> ApiError:
    return gone(_WATCH_GONE.format(version=version, oldest=oldest))


def too_many_requests(message: str, retry_after: int | None, causes: Sequence[JSON] = ()) -> ApiError:
    details: JSON = {"causes": list(causes)} if causes else {}
    return ApiError(429, "TooManyRequests", message, details, retry_after=retry_after)


def required(field: str, message: str = "") -> Cause:
    return Cause("FieldValueRequired", field, f"Required value: {message}" if message else "Required value")


def bad_value(field: str, value: Any, message: str) -> Cause:
    shown = f'"{value}"' if isinstance(value, str) else _compact(value)
    return Cause("FieldValueInvalid", field, f"Invalid value: {shown}: {message}")


def unsupported(field: str, value: object, allowed: Sequence[str]) -> Cause:
    known = ", ".join(f'"{item}"' for item in sorted(allowed))
    return Cause("FieldValueNotSupported", field, f'Unsupported value: "{value}": supported values: {known}')


def duplicate(field: str, value: object) -> Cause:
    return Cause("FieldValueDuplicate", field, f'Duplicate value: "{value}"')


def fixed(field: str, message: str) -> Cause:
    return Cause("FieldValueForbidden", field, f"Forbidden: {message}")


def absent(field: str, value: object) -> Cause:
    return Cause("FieldValueNotFound", field, f'Not found: "{value}"')


def _compact(value: Any) -> str:
    import json

    return json.dumps(value, separators=(",", ":"), default=str)
