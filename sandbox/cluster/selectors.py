"""Label and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable

from cortexops.domain.resource import JSON
from sandbox.cluster.errors import ApiError, bad_request
from sandbox.cluster.kinds import Resource

Predicate = Callable[[JSON], bool]

_SET = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^)]*)\)$")
_SPLIT = re.compile(r",(?![^(]*\))")

_FIELDS: dict[str, frozenset[str]] = {
    "Pod": frozenset(
        {
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        }
    ),
    "Event": frozenset(
        {
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        }
    ),
    "Secret": frozenset({"type"}),
    "Node": frozenset({"spec.unschedulable"}),
    "Namespace": frozenset({"status.phase"}),
    "ReplicaSet": frozenset({"status.replicas"}),
    "ReplicationController": frozenset({"status.replicas"}),
    "Job": frozenset({"status.successful"}),
    "Service": frozenset({"spec.clusterIP", "spec.type"}),
}


def parse_labels(selector: str) -> Callable[[dict[str, str]], bool]:
    """A test of labels for kubectl's selector syntax. Raises `ApiError` (400)."""
    tests: list[Callable[[dict[str, str]], bool]] = []
    for part in (piece.strip() for piece in _SPLIT.split(selector)):
        if part:
            tests.append(_requirement(part, selector))
    return lambda labels: all(test(labels) for test in tests)


def _requirement(part: str, selector: str) -> Callable[[dict[str, str]], bool]:
    found = _SET.match(part)
    if found:
        key, values = found[1], {value.strip() for value in found[3].split(",")}
        if found[2] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    for operator in ("!=", "==", "="):
        key, found_operator, value = (piece.strip() for piece in part.partition(operator))
        if found_operator:
            if not key or " " in key or "(" in value:
                raise _unparsable(selector)
            if operator == "!=":
                return lambda labels: labels.get(key) != value
            return lambda labels: labels.get(key) == value
    if " " in part or "(" in part or ")" in part:
        raise _unparsable(selector)
    if part.startswith("!"):
        absent = part[1:].strip()
        return lambda labels: absent not in labels
    return lambda labels: part in labels


def _unparsable(selector: str) -> ApiError:
    return bad_request(f"unable to parse requirement: found an unexpected term in {selector!r}")


def matches(selector: JSON | None, labels: dict[str, str]) -> bool:
    """Whether a LabelSelector object selects these labels. None selects nothing, an empty one everything."""
    if selector is None:
        return False
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or []:
        key, operator = expression.get("key", ""), expression.get("operator")
        values = expression.get("values") or []
        held = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not held.get(str(operator), False):
            return False
    return True


def render(selector: JSON | None) -> str:
    """A LabelSelector as the text that `?labelSelector=` takes."""
    selector = selector or {}
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or []:
        key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or []))
        operator = expression.get("operator")
        if operator in ("In", "NotIn"):
            parts.append(f"{key} {operator.lower()} ({values})")
        else:
            parts.append(key if operator == "Exists" else f"!{key}")
    return ",".join(parts)


def _field(obj: JSON, path: str) -> str:
    if path == "source":
        return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent") or "")
    value: object = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "false" if path in ("spec.unschedulable", "spec.hostNetwork") else ""
    return str(value)


def parse_fields(resource: Resource, selector: str) -> Predicate:
    """A test of objects for a field selector. Raises `ApiError` (400) for a field that cannot be selected."""
    known = _FIELDS.get(resource.kind, frozenset()) | {"metadata.name"}
    if resource.namespaced:
        known |= {"metadata.namespace"}
    wanted: list[tuple[str, str, bool]] = []
    for part in (piece.strip() for piece in selector.split(",")):
        if not part:
            continue
        for operator in ("!=", "==", "="):
            path, found, value = part.partition(operator)
            if found:
                wanted.append((path, value, operator != "!="))
                break
        else:
            raise bad_request(f"invalid selector: '{selector}'; can't understand '{part}'")
    for path, _, _ in wanted:
        if path not in known:
            gvr = f"{resource.group}/{resource.version}, Resource={resource.plural}"
            raise bad_request(
                f'Unable to find "{gvr}" that match label selector "", field selector "{selector}": '
                f"field label not supported: {path}"
            )
    return lambda obj: all((_field(obj, path) == value) is equal for path, value, equal in wanted)


def selector_for(resource: Resource, labels: str, fields: str) -> Predicate | None:
    """Both selectors as one test; None when there is nothing to test."""
    if not labels and not fields:
        return None
    by_label = parse_labels(labels)
    by_field = parse_fields(resource, fields)
    return lambda obj: by_label(obj["metadata"].get("labels") or {}) and by_field(obj)
