"""Whether a body can be read as the kind it should be: wrong types are a 400, not a validation error."""

from __future__ import annotations

from typing import Any

from cortexops.domain.resource import JSON
from sandbox.cluster import quantity
from sandbox.cluster.errors import ApiError, bad_request
from sandbox.cluster.kinds import Resource

_INTEGERS = frozenset(
    {
        "replicas",
        "minReadySeconds",
        "revisionHistoryLimit",
        "progressDeadlineSeconds",
        "terminationGracePeriodSeconds",
        "containerPort",
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
        "backoffLimit",
        "completions",
        "parallelism",
        "minReplicas",
        "maxReplicas",
    }
)
_STRING_MAPS = frozenset({"labels", "annotations", "matchLabels", "nodeSelector", "data", "stringData"})
_AMOUNTS = frozenset(
    {"limits", "requests", "hard", "capacity", "allocatable", "max", "min", "defaultRequest"}
)
_LISTS = frozenset(
    {
        "containers",
        "initContainers",
        "env",
        "envFrom",
        "volumes",
        "volumeMounts",
        "tolerations",
        "command",
        "args",
    }
)
_MAPS = frozenset({"metadata", "spec", "status", "template", "selector", "resources", "securityContext"})


class _Wrong(Exception):
    pass


def check(resource: Resource, body: Any) -> JSON:
    """The body, as an object. Raises `ApiError` (400)."""
    if not isinstance(body, dict):
        raise bad_request(f"the object provided is unrecognized (must be of type {resource.kind})")
    kind = body.get("kind") or resource.kind
    version = body.get("apiVersion") or resource.api_version
    if kind != resource.kind or version != resource.api_version:
        raise bad_request(
            f'{kind} in version "{version}" cannot be handled as a {resource.kind}: '
            f"{resource.kind} in version {resource.api_version} is expected"
        )
    free = {"data"} if resource.kind == "ControllerRevision" else set()  # any JSON may stand there
    try:
        _walk({key: value for key, value in body.items() if key not in free}, "")
    except _Wrong as wrong:
        raise _unreadable(resource, str(wrong)) from None
    return body


def _unreadable(resource: Resource, detail: str) -> ApiError:
    return bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {detail}'
    )


def _walk(value: Any, path: str) -> None:
    if isinstance(value, list):
        for index, item in enumerate(value):
            _walk(item, f"{path}[{index}]")
        return
    if not isinstance(value, dict):
        return
    for key, item in value.items():
        where = f"{path}.{key}" if path else key
        if item is not None:
            _member(key, item, where)


def _member(key: str, item: Any, where: str) -> None:
    if key in _INTEGERS:
        if isinstance(item, bool) or not isinstance(item, int):
            raise _Wrong(f"{where}: an integer is expected")
        return
    if key in _STRING_MAPS:
        if isinstance(item, dict):
            for name, text in item.items():
                if text is not None and not isinstance(text, str):
                    raise _Wrong(f"{where}.{name}: a string is expected")
        else:
            raise _Wrong(f"{where}: a map of strings is expected")
        return
    if key in _AMOUNTS and isinstance(item, dict):
        _quantities(item, where)
        return
    if key in _LISTS and not isinstance(item, list):
        raise _Wrong(f"{where}: a list is expected")
    if key in _LISTS and key not in ("command", "args") and not all(isinstance(one, dict) for one in item):
        raise _Wrong(f"{where}: a list of maps is expected")
    # a condition has a plain `status`, an RBAC rule lists its `resources`
    elsewhere = (key == "status" and where != "status") or where.startswith("rules")
    if key in _MAPS and not elsewhere and not isinstance(item, dict):
        raise _Wrong(f"{where}: a map is expected")
    if key == "env":
        for index, variable in enumerate(item):
            text = variable.get("value") if isinstance(variable, dict) else ""
            if text is not None and not isinstance(text, str):
                raise _Wrong(f"{where}[{index}].value: a string is expected")
    if key in ("image", "name", "namespace") and not isinstance(item, str):
        raise _Wrong(f"{where}: a string is expected")
    _walk(item, where)


def _quantities(amounts: JSON, where: str) -> None:
    for name, amount in amounts.items():
        try:
            quantity.parse(amount)
        except ValueError:
            raise _Wrong(
                f"{where}.{name}: quantities must match the regular expression "
                "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            ) from None
