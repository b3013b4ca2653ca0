"""For every action that edits fields: whatever others do meanwhile, undo gives each field back or names who has it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.actions import ACTIONS
from activities.means.secrets import keeping
from cortexops.domain.action import Action, Prepared
from cortexops.domain.change import (
    OPERATION_ANNOTATION,
    Change,
    Undo,
    Verb,
    as_written,
    carries,
    holds,
    json_patch,
    lookup,
    pointer,
    undo,
)
from cortexops.domain.errors import Rejected
from cortexops.domain.kubernetes.meta import ref_of
from cortexops.domain.resource import JSON
from cortexops.domain.snapshot import KEPT_VALUES
from sandbox.cluster.patches import KubernetesPatch
from tests.investigation.objects import (
    CLUSTER,
    NOW,
    container,
    deployment,
    node,
    pod,
    replica_set,
    running,
    template,
)

APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class Case(NamedTuple):
    live: JSON
    params: dict[str, Any]
    reads: dict[str, JSON]


def keyed(*objects: JSON) -> dict[str, JSON]:
    return {ref_of(CLUSTER, one["kind"], one).key: one for one in objects}


def named(kind: str, spec: JSON, name: str = "api", **more: Any) -> JSON:
    metadata = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "generation": 3}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec, **more}


def sized(resources: JSON) -> JSON:
    return deployment(pod_template=template("api", container(resources=resources)))


def revised() -> Case:
    live = deployment(pod_template=template("api", container(image="r/api:2")))
    live["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "2"}
    first = replica_set(live, 1, template("api", container(image="r/api:1")), "2026-01-01T00:00:00Z")
    return Case(live, {"to_revision": 1, "replica_set": first["metadata"]["name"]}, keyed(first))


def configured(kind: str, present: dict[str, str] | None, applied: dict[str, str]) -> Case:
    live = named(kind, {})
    del live["spec"]
    if present is not None:
        live["data"] = present
    live["metadata"]["annotations"] = {APPLIED: json.dumps({"data": applied})}
    return Case(live, {"key": "k", "source": "last_applied"}, {})


def crew(on: JSON) -> JSON:
    return pod(deployment(), running(), node=on["metadata"]["name"])


def aged(one: JSON, **spec: Any) -> JSON:
    one["metadata"]["uid"] = "uid-node"
    one["spec"] |= spec
    return one


SPARE = node("node-2")
CASES: dict[str, list[Case]] = {
    "adjust_resources": [
        Case(
            sized({"limits": {"memory": "128Mi"}, **requests}),
            {"container": "api", "memory_limit": "256Mi", "memory_request": "192Mi"},
            {},
        )
        for requests in ({}, {"requests": {"memory": "64Mi"}}, {"requests": {"cpu": "1"}})
    ]
    + [
        Case(
            sized({"limits": {"cpu": "1"}}), {"container": "api", "cpu_limit": "2", "cpu_request": "1500m"}, {}
        )
    ],
    "restart_workload": [Case(deployment(), {}, {})],
    "scale_workload": [Case(deployment(replicas=2), {"replicas": 4}, {})],
    "rollback_rollout": [revised()],
    "pause_rollout": [Case(deployment(), {}, {})],
    "resume_rollout": [Case(deployment() | {"spec": {**deployment()["spec"], "paused": True}}, {}, {})],
    "suspend_cronjob": [Case(named("CronJob", spec), {}, {}) for spec in ({}, {"suspend": False})],
    "resume_cronjob": [Case(named("CronJob", {"suspend": True}), {}, {})],
    "hpa_bounds": [
        Case(
            named(
                "HorizontalPodAutoscaler",
                {"maxReplicas": 4, "scaleTargetRef": {"kind": "Deployment", "name": "api"}},
            ),
            {"max_replicas": 7},
            {},
        )
    ],
    "cordon_node": [Case(aged(node()), {}, {})],
    "uncordon_node": [Case(aged(node(), unschedulable=True), {}, {})],
    "remove_node_from_service": [
        Case(aged(node(), **spec), {}, keyed(SPARE)) for spec in ({}, {"unschedulable": True})
    ],
    "drain_node": [Case(aged(node()), {}, keyed(SPARE, crew(node())))],
    "patch_config": [
        configured(kind, present, {"k": "good"})
        for kind in ("ConfigMap", "Secret")
        for present in ({"k": "bad", "other": "1"}, {"k": "bad"}, {"other": "1"}, {}, None)
    ],
}  # fmt: skip
IRREVERSIBLE = {"delete_pod", "evict_pod", "expand_pvc"}
OTHERWISE = {"rerun_job", "open_pull_request", "escalate"}
"""They edit no fields; their undo is tried on live objects."""


def test_every_action_is_tried_or_edits_no_fields() -> None:
    assert CASES.keys() | IRREVERSIBLE | OTHERWISE == set(ACTIONS.kinds)


def prepared(type_: str, case: Case) -> Prepared:
    live = case.live
    action = Action(type=type_, target=ref_of(CLUSTER, live["kind"], live), params=case.params)
    return ACTIONS[type_].prepare(live, action, case.reads, NOW)


def done(type_: str, case: Case) -> tuple[Change, JSON]:
    """The change as the server wrote it, and the object after it."""
    change = prepared(type_, case).change.model_copy(update={"operation_id": "op"})
    if change.target.kind == "Secret":
        change = keeping(change, case.live)
    after = KubernetesPatch(json_patch(change, case.live)).apply(copy.deepcopy(case.live))
    after["metadata"]["generation"] = case.live["metadata"].get("generation", 1) + 1
    return as_written(change, after).model_copy(update={"generation": None}), after


pairs = [(type_, number) for type_, cases in CASES.items() for number in range(len(cases))]


@pytest.mark.parametrize(("type_", "number"), pairs)
def test_undo_leaves_the_object_exactly_as_it_was(type_: str, number: int) -> None:
    case = CASES[type_][number]
    change, after = done(type_, case)
    assert change.edits and all(holds(after, f.path, f.after_present, f.after) for f in change.edits)
    plan = undo(change, after, operation="op.undo")
    assert plan.verdict is Undo.POSSIBLE and plan.change is not None
    back = KubernetesPatch(json_patch(plan.change, after)).apply(copy.deepcopy(after))
    assert carries(back, "op.undo")
    assert bare(back) == bare(case.live)


def bare(live: JSON) -> JSON:
    """The object without bookkeeping, and without our mark."""
    plain = copy.deepcopy(live)
    plain["metadata"].pop("generation", None)
    notes = plain["metadata"].get("annotations") or {}
    notes.pop(OPERATION_ANNOTATION, None)
    if not notes:
        plain["metadata"].pop("annotations", None)
    return plain


def places(value: Any, path: str = "") -> list[str]:
    """Every place in maps and lists but identity."""
    if isinstance(value, dict):
        inner = [p for key in value for p in (path + pointer(key), *places(value[key], path + pointer(key)))]
    elif isinstance(value, list):
        inner = [p for i, item in enumerate(value) for p in (f"{path}/{i}", *places(item, f"{path}/{i}"))]
    else:
        return []
    return [p for p in inner if not p.startswith(("/metadata", "/kind", "/apiVersion", "/status"))]


@st.composite
def theirs(draw: st.DrawFn, live: JSON, ours: list[str]) -> tuple[JSON, list[str]]:
    """The object after edits of somebody else: of any field, of one of ours, or a new one."""
    after, touched = copy.deepcopy(live), []
    for _ in range(draw(st.integers(0, 3))):
        known = [p for p in [*places(after), *ours] if lookup(after, p)[0]]
        path = draw(st.sampled_from(known)) if known else "/spec"
        how = draw(st.sampled_from(["replace", "remove", "add"]))
        there = lookup(after, path)[1]
        if how == "add" and isinstance(there, dict):
            there["theirs"] = touched_path = path + "/theirs"
            touched.append(touched_path)
            continue
        operation = {"op": "remove", "path": path} if how == "remove" else {
            "op": "replace", "path": path, "value": draw(st.sampled_from(["theirs", 7, {"a": 1}, True])),
        }  # fmt: skip
        if path in ("/spec", "/data", "/spec/template") and how == "remove":
            continue
        after = jsonpatch.apply_patch(after, [operation])
        touched.append(path)
    return after, touched


@given(st.sampled_from(pairs), st.data())
def test_undo_never_tramples_on_anybody(pair: tuple[str, int], data: st.DataObject) -> None:
    case = CASES[pair[0]][pair[1]]
    change, after = done(pair[0], case)
    ours = [field.path for field in change.edits]
    now, _ = data.draw(theirs(after, ours))
    before_undo = copy.deepcopy(now)
    plan = undo(change, now, operation="op.undo")
    assert now == before_undo
    changed_by_them = [
        f.path
        for f in change.edits
        if not holds(now, f.path, f.after_present, f.after)
        and not holds(now, f.path, f.before_present, f.before)
    ]
    if changed_by_them:
        assert plan.verdict is Undo.FOREIGN and plan.change is None
        assert set(changed_by_them) <= {f.path for f in plan.foreign}
        return
    if plan.change is None:
        assert plan.verdict in (Undo.ALREADY, Undo.FOREIGN)
        return
    back = KubernetesPatch(json_patch(plan.change, now)).apply(copy.deepcopy(now))
    for field in change.edits:
        assert holds(back, field.path, field.before_present, field.before), field.path
    allowed = [*ours, *(f.path for f in plan.change.edits), "/metadata/annotations"]
    for path in {*places(now), *places(back)}:
        if not any(path == o or path.startswith(o + "/") or o.startswith(path + "/") for o in allowed):
            assert lookup(back, path) == lookup(now, path), path
    for path in places(now):
        if path.endswith("/theirs") and not any(path.startswith(o + "/") for o in ours):
            assert lookup(back, path)[0], path


def test_a_map_that_somebody_else_has_put_something_into_stays() -> None:
    case = configured("ConfigMap", None, {"k": "good"})
    change, after = done("patch_config", case)
    after["data"]["theirs"] = "1"
    plan = undo(change, after, operation="op.undo")
    assert plan.change is not None
    back = KubernetesPatch(json_patch(plan.change, after)).apply(after)
    assert back["data"] == {"theirs": "1"}


def test_the_note_on_a_secret_holds_the_earlier_value_and_nothing_of_the_new_one() -> None:
    case = configured("Secret", {"k": "YmFk"}, {"k": "Z29vZA=="})
    _, after = done("patch_config", case)
    note = lookup(after, KEPT_VALUES)[1]
    assert after["data"]["k"] == "Z29vZA=="
    assert "Z29vZA" not in note and "last-applied" in KEPT_VALUES


def test_a_drain_names_the_pods_that_would_come_back_elsewhere() -> None:
    here = node()
    own = crew(here)
    daemon, static, alone, over = (copy.deepcopy(own) for _ in range(4))
    for number, one in enumerate((daemon, static, alone, over)):
        one["metadata"] |= {"name": f"p{number}", "uid": f"u{number}"}
    daemon["metadata"]["ownerReferences"][0]["kind"] = "DaemonSet"
    static["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    alone["metadata"]["ownerReferences"] = []
    over["status"]["phase"] = "Succeeded"
    reads = keyed(SPARE, own, daemon, static, alone, over)
    change = prepared("drain_node", Case(aged(here), {}, reads)).change
    assert (change.verb, [p.name for p in change.pods]) == (Verb.DRAIN, [own["metadata"]["name"]])
    with pytest.raises(Rejected, match="no pod that could be moved"):
        prepared("drain_node", Case(aged(here), {}, keyed(SPARE, daemon)))
    with pytest.raises(Rejected, match="no other node"):
        prepared("drain_node", Case(aged(here), {}, keyed(own)))


def test_cases_are_not_spoilt_by_one_another() -> None:
    frozen: Mapping[str, list[Case]] = copy.deepcopy(CASES)
    for type_, number in pairs:
        done(type_, CASES[type_][number])
    assert frozen == CASES
