"""What must hold of every remedy in a report, judged against the incident's own objects: a remedy may not make
things worse, and what people are told to type must work as it stands."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from tests.evals.api import _SERVED
from tests.evals.expand import Incident
from tests.evals.shapes import JSON

RESOLVES, CONTAINS = "resolves", "contains"
OUTSIDE = ("external_dependency", "registry_unreachable", "registry_rate_limited")
"""Causes that no change in the cluster mends."""
_PLACEHOLDER = re.compile(
    r"<[\w .-]*>|\bFILE\b|\bSIZE\b|\bVERB\b|\bRESOURCE\b|\bNAME\b|\bNAMESPACE\b|\.\.\.|\bNone\b|\bTODO\b"
)
_LOOKING = frozenset({"get", "describe", "logs", "top", "history", "status", "can-i"})
_PROGRAMS = frozenset({"kubectl", "cmctl", "base64", "openssl", "echo"})
_FLAGS = {
    "get": {"-o", "--show-managed-fields", "--field-selector", "-A", "-l"},
    "describe": set(),
    "logs": {"-c", "--previous", "--tail"},
    "edit": set(),
    "patch": {"--type", "-p"},
    "create": {"--from", "--from-env-file", "--cert", "--key", "--dry-run", "-o", "--raw", "-f"},
    "apply": {"-f"},
    "scale": {"--replicas"},
    "set": {"-c", "--limits", "--requests"},
    "rollout": {"--to-revision", "--revision"},
    "cordon": set(),
    "uncordon": set(),
    "drain": {"--ignore-daemonsets", "--delete-emptydir-data"},
    "taint": set(),
    "label": set(),
    "annotate": {"--overwrite"},
    "delete": set(),
    "auth": {"--as"},
    "argo": {"--to-revision"},
}
_VALUED = frozenset({"-n", "-o", "-c", "-l", "-p", "-f", "--type", "--field-selector"})
"""Options whose value is the next word."""
_WORDS = {
    "pvc": "PersistentVolumeClaim", "hpa": "HorizontalPodAutoscaler", "deploy": "Deployment", "secret": "Secret",
}  # fmt: skip
_BY_HAND_ONLY = ("PodDisruptionBudget", "Namespace", "PersistentVolume", "ResourceQuota", "NetworkPolicy")
"""Kinds that no action touches: people weigh what they are there for."""


def broken(incident: Incident, report: JSON) -> list[str]:
    """What does not hold, in words."""
    return [
        f"{incident.name}: {what}" for found in report["incidents"] for what in _of_incident(incident, found)
    ]


def _of_incident(incident: Incident, found: JSON) -> Iterator[str]:
    actions, cause, verdict = found["recommended_actions"], found["root_cause"], found["verdict"]
    feasible = [action for action in actions if action["feasible"]]
    if verdict != "root_cause" and feasible:
        yield f"{_said(feasible[0])} is offered though the verdict is {verdict}"
    resolving = [action for action in feasible if action["effect"] == RESOLVES]
    if verdict != "healthy" and found["escalate"] != (not resolving):
        yield f"escalate is {found['escalate']}, and {len(resolving)} actions resolve it"
    if cause is not None and not resolving and not any(action["commands"] for action in actions):
        yield "nobody is told what to look at"
    for action in actions:
        yield from _of_commands(incident, action)
    for action in feasible:
        yield from _of_action(incident, cause, action)
    if cause is not None and cause["category"] in OUTSIDE:
        changing = [c for a in actions for c in a["commands"] if feasible or not _LOOKING & set(c.split())]
        if feasible or changing:
            yield f"{cause['category']} is to be mended in the cluster: {feasible or changing}"


def _of_action(incident: Incident, cause: JSON, action: JSON) -> Iterator[str]:
    kind, live = action["type"], _find(incident, action["target"])
    if action["effect"] not in (RESOLVES, CONTAINS) or not 0 < action["expected_effect"] <= 1:
        yield f"{_said(action)} does not say what it effects"
    if live is None:
        yield f"{_said(action)} is about an object that is not there"
        return
    if action["target"]["kind"] in _BY_HAND_ONLY:
        yield f"{_said(action)} touches what only people may"
    if not _concerned(incident, cause, live):
        yield f"{_said(action)} touches an object other than the cause {cause['resource']}"
    if _reconciled(live) and kind != "open_pull_request":
        yield f"{_said(action)} changes what a controller puts back"
    if kind == "drain_node" and _ready(live) == "Unknown":
        yield f"{_said(action)} empties a node whose pods nobody can end"
    if kind in ("cordon_node", "drain_node", "remove_node_from_service") and not _other_nodes(incident, live):
        yield f"{_said(action)} takes the last good node"
    if kind == "restart_workload" and cause["category"] in ("config_missing", "image_pull_denied"):
        yield f"{_said(action)} starts pods anew that lack something"
    if kind in ("scale_workload", "hpa_bounds") and cause["category"] == "connection_saturation":
        yield f"{_said(action)} asks for more connections where none are left"
    leaks = cause["category"] == "memory_leak" and kind in ("restart_workload", "adjust_resources")
    if leaks and action["effect"] != CONTAINS:
        yield f"{_said(action)} is said to mend a leak"
    if kind == "rollback_rollout" and not _has_revision(incident, live, action["params"]["to_revision"]):
        yield f"{_said(action)} goes back to a revision that is not there"


def _of_commands(incident: Incident, action: JSON) -> Iterator[str]:
    if not action["commands"]:
        yield f"{_said(action)} has no command"
    for command in action["commands"]:
        bare = re.sub(r"jsonpath='[^']*'", "jsonpath", command)
        if _PLACEHOLDER.search(bare):
            yield f"a placeholder is left in: {command}"
        for part in re.split(r" \| ", bare):
            words = shlex.split(part)
            if words[0] not in _PROGRAMS:
                yield f"{words[0]!r} is no program that is known: {command}"
            elif words[0] == "kubectl":
                yield from (f"{why}: {command}" for why in kubectl(incident, words[1:]))


def kubectl(incident: Incident, words: Sequence[str]) -> Iterator[str]:
    """What kubectl would refuse: verbs, options, kinds that are not served, objects that are not there."""
    options, plain = _split(words)
    verb = plain[0] if plain else ""
    if verb not in _FLAGS:
        yield f"no verb of kubectl: {verb!r}"
        return
    if unknown := sorted(set(options) - _FLAGS[verb] - {"-n"}):
        yield f"no options of {verb}: {unknown}"
    if {"--force", "--grace-period"} & set(options) or "finalizers" in " ".join(words):
        yield "removes by force"
    namespace = options.get("-n", "")
    if namespace not in ("", "default") and not any(
        o["metadata"].get("namespace") == namespace for o in incident.objects
    ):
        yield f"nothing is in namespace {namespace}"
    rest = [word for word in plain[1:] if word not in ("rollouts", "resources", "image")]
    if verb == "rollout" or verb == "argo":
        rest = rest[1:]
    if verb in ("logs",):
        rest = ["pod", *rest]
    if verb in ("cordon", "uncordon", "drain"):
        rest = ["node", *rest]
    if verb in ("auth", "create", "apply") or not rest or verb == "argo":
        return
    yield from _object(incident, verb, rest, namespace, everywhere="-A" in options)


def _object(
    incident: Incident, verb: str, rest: Sequence[str], namespace: str, *, everywhere: bool
) -> Iterator[str]:
    word, _, name = rest[0].partition("/")
    name = name or (rest[1] if len(rest) > 1 else "")
    for each in word.split(","):
        kind = _kind(each)
        if kind is None:
            if each not in (
                "certificaterequests",
                "orders",
                "challenges",
            ):  # of cert-manager, beside its Certificate
                yield f"the server has no {each}"
            continue
        spaced = _NAMESPACED[kind]
        if spaced and not namespace and not everywhere:
            yield f"{kind} without a namespace"
        if not spaced and namespace:
            yield f"{kind} in a namespace"
        looking = verb in ("get", "describe")  # shows that something is not there
        ref = {"kind": kind, "namespace": namespace if spaced else "", "name": name}
        if name and not looking and _find(incident, ref) is None:
            yield f"there is no {kind} {namespace}/{name}"


def _split(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    options: dict[str, str] = {}
    plain: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word == "-":
            plain.append(word)
            continue
        name, given, value = word.partition("=")
        options[name] = value if given else left.pop(0) if name in _VALUED and left else ""
    return options, plain


_NAMESPACED = {kind: spaced for _, kind, _, spaced in _SERVED if kind != "PodMetrics"}


def _kind(word: str) -> str | None:
    """The kind that kubectl understands by the word: singular, plural, short, or plural with the group."""
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    bare, _, group = word.lower().partition(".")
    for version, kind, plural, _ in _SERVED:
        if kind == "PodMetrics" or (group and not version.startswith(f"{group}/")):
            continue
        if bare in (kind.lower(), plural):
            return kind
    return None


def _said(action: JSON) -> str:
    ref = action["target"]
    return f"{action['type']} on {ref['kind']} {ref['namespace']}/{ref['name']}"


def _find(incident: Incident, ref: JSON) -> JSON | None:
    return next(
        (
            o
            for o in incident.objects
            if (o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"])
            == (ref["kind"], ref["namespace"], ref["name"])
        ),
        None,
    )


def _concerned(incident: Incident, cause: JSON, live: JSON) -> bool:
    """Whether it is the cause's object, what owns that, or a workload that asks for it by name."""
    ref = cause["resource"]
    at = _find(incident, ref)
    while at is not None:
        if at is live:
            return True
        at = next(
            (
                _find(incident, {"kind": o["kind"], "namespace": ref["namespace"], "name": o["name"]})
                for o in at["metadata"].get("ownerReferences", [])
            ),
            None,
        )
    template = live.get("spec", {}).get("template")
    return template is not None and f'"{ref["name"]}"' in json.dumps(template)


def _reconciled(live: JSON) -> bool:
    metadata = live["metadata"]
    marks = [*(metadata.get("annotations") or {}), *(metadata.get("labels") or {})]
    return any(
        mark.startswith(("argocd.argoproj.io/", "kustomize.toolkit", "helm.toolkit")) for mark in marks
    )


def _ready(node: JSON) -> str:
    return next((c["status"] for c in node["status"].get("conditions", []) if c["type"] == "Ready"), "")


def _other_nodes(incident: Incident, node: JSON) -> bool:
    return any(
        o["kind"] == "Node"
        and o is not node
        and _ready(o) == "True"
        and not o.get("spec", {}).get("unschedulable")
        for o in incident.objects
    )


def _has_revision(incident: Incident, deployment: JSON, revision: Any) -> bool:
    return any(
        o["kind"] == "ReplicaSet"
        and o["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision") == str(revision)
        and any(r["uid"] == deployment["metadata"]["uid"] for r in o["metadata"].get("ownerReferences", []))
        for o in incident.objects
    )
