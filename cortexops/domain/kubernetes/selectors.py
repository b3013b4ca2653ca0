"""Label selectors: matching, and the string form of the API."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cortexops.domain.kubernetes.values import objects, text, texts, words
from cortexops.domain.resource import JSON

_REQUIREMENT = re.compile(
    r"\s*(?:(?P<key>[^\s!=,()]+)\s*(?:(?P<is>==?|!=)\s*(?P<value>[^\s,()]*)"
    r"|\s(?P<set>in|notin)\s*\((?P<values>[^)]*)\))?|!\s*(?P<absent>[^\s!=,()]+))\s*"
)


def equals(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a Service-like selector picks the labels. An empty selector picks nothing."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


_OF_ONE_PART = ("rollouts-pod-template-hash", "statefulset.kubernetes.io/pod-name")
"""Labels that controllers put on pods, not on templates, for Services of one revision (Argo) or of one pod."""


def picks_template(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a Service-like selector picks pods, some of them at least, that are made with these labels."""
    return equals({key: value for key, value in selector.items() if key not in _OF_ONE_PART}, labels)


def _holds(expression: JSON, labels: Mapping[str, str]) -> bool:
    key, values = text(expression, "key"), words(expression, "values")
    match text(expression, "operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def matches(selector: JSON, labels: Mapping[str, str]) -> bool:
    """Whether a `matchLabels`/`matchExpressions` selector picks the labels."""
    fixed, expressions = texts(selector, "matchLabels"), objects(selector, "matchExpressions")
    if not fixed and not expressions:
        return False
    return all(labels.get(k) == v for k, v in fixed.items()) and all(_holds(e, labels) for e in expressions)


def on_node(required: JSON, node: JSON) -> bool:
    """Whether the `required` part of a node affinity allows the node. What bounds by fields is taken as met."""
    own = texts(node, "metadata", "labels")
    return any(
        all(_holds(expression, own) for expression in objects(term, "matchExpressions"))
        for term in objects(required, "nodeSelectorTerms")
    )


def query(selector: JSON) -> str:
    """The selector as a `labelSelector` parameter; empty when it selects nothing by label."""
    parts = [f"{key}={value}" for key, value in sorted(texts(selector, "matchLabels").items())]
    for expression in objects(selector, "matchExpressions"):
        key, values = text(expression, "key"), ",".join(words(expression, "values"))
        form = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }.get(text(expression, "operator"))
        if form:
            parts.append(form)
    return ",".join(parts)


def simple_query(selector: Mapping[str, str]) -> str:
    """A Service's selector as a `labelSelector` parameter."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))


def query_matches(query: str, labels: Mapping[str, str]) -> bool:
    """Whether the string form picks the labels; an empty one picks all, and so does what cannot be read."""
    for part in re.split(r",(?![^(]*\))", query) if query else ():
        found = _REQUIREMENT.fullmatch(part)
        if found is None:
            continue
        if found["absent"]:
            holds = found["absent"] not in labels
        elif found["set"]:
            among = labels.get(found["key"]) in {value.strip() for value in found["values"].split(",")}
            holds = among == (found["set"] == "in")
        elif found["is"]:
            holds = (labels.get(found["key"]) == found["value"]) == (found["is"] != "!=")
        else:
            holds = found["key"] in labels
        if not holds:
            return False
    return True
