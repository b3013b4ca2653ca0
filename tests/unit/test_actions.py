"""The bounds of actions: what code offers, what it refuses, and that nothing gets past `prepare`."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.actions import ACTIONS
from cortexops.domain.action import Action, Candidate, Infeasible, Risk, order
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.errors import InvalidInput, Rejected
from cortexops.domain.quantity import parse_quantity
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from tests.investigation.objects import (
    NOW,
    ago,
    container,
    deployment,
    node,
    pod,
    ref,
    replica_set,
    running,
    scene,
    template,
)

MI = 2**20


def because(category: Category, resource: ResourceRef, target: ResourceRef | None = None) -> Diagnosis:
    cause = Hypothesis(
        resource=resource,
        category=category,
        summary="x",
        support=Support(direct=1),
        container="api",
        confidence=0.9,
    )
    return Diagnosis(target=target or resource, verdict=Verdict.ROOT_CAUSE, hypotheses=(cause,))


def offers(type_: str, made: Scene, category: Category, resource: ResourceRef) -> Candidate:
    (found,) = ACTIONS[type_].propose(made, because(category, resource))
    return found


def sized(limit: str, request: str | None = "64Mi", *others: JSON) -> JSON:
    resources: JSON = {"limits": {"memory": limit}}
    if request is not None:
        resources["requests"] = {"memory": request}
    return deployment(pod_template=template("api", container(resources=resources), *others))


def bound(kind: str, name: str, spec: JSON, status: JSON | None = None) -> JSON:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec, "status": status or {}}


def limit_range(most: str, type_: str = "Container") -> JSON:
    return bound("LimitRange", "bounds", {"limits": [{"type": type_, "max": {"memory": most}}]})


def quota(hard: str, used: str, name: str = "limits.memory") -> JSON:
    return bound(
        "ResourceQuota", "quota", {"hard": {name: hard}}, {"hard": {name: hard}, "used": {name: used}}
    )


def more_memory(live: JSON, *others: JSON) -> Candidate:
    target = ref(live["kind"], live["metadata"]["name"])
    return offers("adjust_resources", scene(target, live, *others), Category.OOM_LIMIT_TOO_LOW, target)


@pytest.mark.parametrize(
    ("others", "limit"),
    [
        ((), "256Mi"),
        ((limit_range("200Mi"),), "200Mi"),
        ((limit_range("200M"),), "190Mi"),
        ((limit_range("1Gi"), limit_range("150Mi")), "150Mi"),
        ((node() | {"status": {"allocatable": {"memory": "400Mi"}}},), "200Mi"),
        # 2 replicas and 1 more while they are rolled: 384Mi + 2 * d + (128Mi + d) <= 512Mi + 64Mi
        ((quota("576Mi", "256Mi"),), "192Mi"),
    ],
)
def test_memory_is_raised_at_most_twofold_and_within_what_the_namespace_and_nodes_allow(
    others: tuple[JSON, ...], limit: str
) -> None:
    found = more_memory(sized("128Mi"), *others)
    assert found.feasible, found.why
    assert found.action.params["memory_limit"] == limit


def test_a_limit_range_for_whole_pods_counts_the_other_containers() -> None:
    sidecar = container("proxy", resources={"limits": {"memory": "100Mi"}})
    found = more_memory(sized("128Mi", "64Mi", sidecar), limit_range("300Mi", "Pod"))
    assert found.action.params["memory_limit"] == "200Mi"


@pytest.mark.parametrize(
    "other", [limit_range("128Mi"), limit_range("100Mi"), quota("256Mi", "256Mi"), quota("384Mi", "256Mi")]
)
def test_at_the_bound_nothing_is_offered_and_the_bound_is_named(other: JSON) -> None:
    found = more_memory(sized("128Mi"), other)
    assert (found.feasible, found.infeasible) == (False, Infeasible.BOUND_REACHED)
    assert other["metadata"]["name"] in found.why


def test_the_request_stays_within_its_own_quota() -> None:
    found = more_memory(sized("128Mi", "64Mi"), quota("224Mi", "128Mi", "requests.memory"))
    # 2 pods of 64Mi and 1 more while rolling leave 32Mi for three
    assert parse_quantity(found.action.params["memory_request"]) <= Decimal(64 * MI + 32 * MI / 3)


def test_without_a_limit_there_is_nothing_to_raise() -> None:
    live = deployment(pod_template=template("api", container(resources={})))
    assert more_memory(live).infeasible is Infeasible.NO_LIMIT_SET


amounts = st.builds(
    lambda n, unit: f"{n}{unit}", st.integers(1, 4000), st.sampled_from(["Mi", "M", "Ki", "", "k"])
)


@settings(max_examples=200)
@given(amounts, amounts | st.none(), st.none() | amounts, st.none() | st.tuples(amounts, amounts))
def test_what_is_offered_is_what_prepare_accepts(
    limit: str, request: str | None, most: str | None, quotas: tuple[str, str] | None
) -> None:
    if request is not None and parse_quantity(request) > parse_quantity(limit):
        request = limit
    live = sized(limit, request)
    others = [*([limit_range(most)] if most else []), *([quota(*quotas)] if quotas else [])]
    found = more_memory(live, *others)
    if not found.feasible:
        return
    new = parse_quantity(found.action.params["memory_limit"])
    assert parse_quantity(limit) < new <= 2 * parse_quantity(limit)
    assert most is None or new <= parse_quantity(most)
    assert parse_quantity(found.action.params["memory_request"]) <= new
    prepared = ACTIONS["adjust_resources"].prepare(live, found.action, {}, NOW)
    assert [e.after for e in prepared.change.edits] == [
        found.action.params["memory_limit"],
        found.action.params["memory_request"],
    ]


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_prepare_lets_no_memory_through_that_is_out_of_bounds(limit: int, request: int) -> None:
    params = {"container": "api", "memory_limit": f"{limit}Mi", "memory_request": f"{request}Mi"}
    action = Action(type="adjust_resources", target=ref("Deployment", "api"), params=params)
    if 128 < limit <= 256 and request <= limit:
        ACTIONS["adjust_resources"].prepare(sized("128Mi"), action, {}, NOW)
    else:
        with pytest.raises(Rejected):
            ACTIONS["adjust_resources"].prepare(sized("128Mi"), action, {}, NOW)


@given(st.integers(-5, 200), st.integers(0, 60))
def test_prepare_lets_no_scale_through_that_is_out_of_bounds(wanted: int, present: int) -> None:
    action = Action(type="scale_workload", target=ref("Deployment", "api"), params={"replicas": wanted})
    live = deployment(replicas=present)
    if 1 <= wanted <= min(50, max(1, 2 * present)) and wanted != present:
        prepared = ACTIONS["scale_workload"].prepare(live, action, {}, NOW)
        assert prepared.expected_replicas == wanted
    else:
        with pytest.raises(Rejected):
            ACTIONS["scale_workload"].prepare(live, action, {}, NOW)


@pytest.mark.parametrize("replicas", [None, "", "x", "1.5", 1.5, True, [1], "²", "9" * 30])
def test_a_number_that_is_none_is_refused_in_words(replicas: Any) -> None:
    action = Action(type="scale_workload", target=ref("Deployment", "api"), params={"replicas": replicas})
    with pytest.raises(InvalidInput, match="replicas"):
        ACTIONS["scale_workload"].prepare(deployment(), action, {}, NOW)


def image(tag: str) -> JSON:
    return template("api", container(image=f"r/api:{tag}"))


def history(*tags: str, ready: str = "") -> tuple[JSON, list[JSON]]:
    """A Deployment whose revisions had these images; the last is the present one."""
    live = deployment(pod_template=image(tags[-1]))
    live["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": str(len(tags))}
    sets = [
        replica_set(live, n, copy.deepcopy(image(tag)), ago(hours=9 - n)) for n, tag in enumerate(tags, 1)
    ]
    for one, tag in zip(sets, tags, strict=True):
        if tag == ready:
            one["status"]["readyReplicas"] = 1
    return live, sets


def back(live: JSON, sets: list[JSON]) -> Candidate:
    target = ref("Deployment", "api")
    return offers("rollback_rollout", scene(target, live, *sets), Category.CRASH_SINCE_RELEASE, target)


@pytest.mark.parametrize(
    ("tags", "ready", "revision"),
    [
        (("1", "2"), "", 1),
        (("1", "2", "3"), "", 2),
        (("1", "2", "3"), "1", 1),
        (("1", "2", "2"), "", 1),
        (("3", "1", "3"), "", 2),
    ],
)
def test_a_rollback_goes_to_an_earlier_revision_that_differs(
    tags: tuple[str, ...], ready: str, revision: int
) -> None:
    live, sets = history(*tags, ready=ready)
    found = back(live, sets)
    assert found.action.params["to_revision"] == revision
    source = sets[revision - 1]
    reads = {ACTIONS["rollback_rollout"].reads(found.action)[0].key: source}
    prepared = ACTIONS["rollback_rollout"].prepare(live, found.action, reads, NOW)
    (field,) = prepared.change.edits
    assert field.path == "/spec/template"
    assert field.after["spec"] == image(tags[revision - 1])["spec"]
    assert "pod-template-hash" not in field.after["metadata"]["labels"]


@pytest.mark.parametrize("tags", [("1",), ("1", "1"), ("1", "1", "1")])
def test_without_an_earlier_revision_that_differs_there_is_no_rollback(tags: tuple[str, ...]) -> None:
    assert back(*history(*tags)).infeasible is Infeasible.NO_EARLIER_REVISION


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda live, source: source["metadata"].update(ownerReferences=[]), "does not belong"),
        (lambda live, source: source["metadata"].update(annotations={}), "does not hold revision"),
        (lambda live, source: live["metadata"].update(annotations={}), "not below the present"),
        (lambda live, source: live["spec"].update(paused=True), "paused"),
        (lambda live, source: live["spec"].update(template=image("1")), "nothing would change"),
    ],
)
def test_prepare_refuses_a_rollback_to_anything_else(spoil: Any, words: str) -> None:
    live, sets = history("1", "2")
    found = back(live, sets)
    spoil(live, sets[0])
    reads = {ACTIONS["rollback_rollout"].reads(found.action)[0].key: sets[0]}
    with pytest.raises(Rejected, match=words):
        ACTIONS["rollback_rollout"].prepare(live, found.action, reads, NOW)
    with pytest.raises(Rejected, match="is gone"):
        ACTIONS["rollback_rollout"].prepare(live, found.action, {}, NOW)


def test_a_secret_in_a_template_is_not_shown_with_the_plan() -> None:
    live, sets = history("1", "2")
    for one, value in ((live, "hunter2"), (sets[0], "hunter1")):
        variables = [{"name": "DB_PASSWORD", "value": value}, {"name": "MODE", "value": value[-1]}]
        one["spec"]["template"]["spec"]["containers"][0]["env"] = variables
    shown = back(live, sets).model_dump_json()
    assert "hunter" not in shown
    assert "[redacted:by_name]" in shown


MARKS = [
    {"labels": {"argocd.argoproj.io/instance": "shop"}},
    {"annotations": {"argocd.argoproj.io/tracking-id": "shop"}},
    {"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}},
    {"labels": {"helm.toolkit.fluxcd.io/name": "shop"}},
]


@pytest.mark.parametrize("mark", MARKS)
def test_what_git_owns_is_changed_by_no_action(mark: JSON) -> None:
    live, sets = history("1", "2")
    live["metadata"] |= mark
    target = ref("Deployment", "api")
    made = scene(target, live, *sets)
    for type_, category in (
        ("adjust_resources", Category.OOM_LIMIT_TOO_LOW),
        ("restart_workload", Category.MEMORY_LEAK),
        ("rollback_rollout", Category.BAD_ROLLOUT),
        ("scale_workload", Category.SCALED_TO_ZERO),
    ):
        assert offers(type_, made, category, target).infeasible is Infeasible.OWNED_BY_GITOPS, type_
    action = Action(type="restart_workload", target=target)
    with pytest.raises(Rejected, match="managed from Git"):
        ACTIONS["restart_workload"].prepare(live, action, {}, NOW)


def test_whatever_touches_a_stateful_workload_is_a_high_risk() -> None:
    live = deployment("db") | {"kind": "StatefulSet"}
    target = ref("StatefulSet", "db")
    found = offers("restart_workload", scene(target, live), Category.MEMORY_LEAK, target)
    assert (found.risk, found.blast_radius.stateful) == (Risk.HIGH, True)
    assert ACTIONS["restart_workload"].spec.risk is Risk.LOW


def stuck(owner_kind: str | None) -> Candidate:
    live = pod(deployment("db") | {"kind": owner_kind or "Job"}, running("db"))
    if owner_kind is None:
        live["metadata"]["ownerReferences"][0]["controller"] = False
    target = ref("Pod", "db-x7k2p")
    return offers("delete_pod", scene(target, live), Category.STUCK_POD, target)


def test_a_pod_needs_a_controller_to_be_deleted_and_its_kind_sets_the_risk() -> None:
    assert stuck(None).infeasible is Infeasible.NOTHING_TO_CHANGE
    assert stuck("ReplicaSet").risk is Risk.LOW
    assert stuck("StatefulSet").risk is Risk.HIGH
    assert not stuck("ReplicaSet").reversible


def test_the_last_node_is_not_cordoned_and_a_cordoned_one_not_again() -> None:
    sick, well = node("node-1", ready="False"), node("node-2")
    target = ref("Node", "node-1")
    both = offers("cordon_node", scene(target, sick, well), Category.NODE_NOT_READY, target)
    assert (both.feasible, both.contains_only) == (True, True)
    alone = offers("cordon_node", scene(target, sick), Category.NODE_NOT_READY, target)
    assert alone.infeasible is Infeasible.NO_OTHER_NODE
    sick["spec"]["unschedulable"] = True
    again = offers("cordon_node", scene(target, sick, well), Category.NODE_NOT_READY, target)
    assert again.infeasible is Infeasible.NOTHING_TO_CHANGE


def test_candidates_come_by_effect_then_risk_and_never_twice() -> None:
    def one(type_: str, effect: float, risk: Risk, feasible: bool = True) -> Candidate:
        action = Action(type=type_, target=ref("Deployment", "api"))
        return Candidate(action=action, risk=risk, feasible=feasible, why="x", expected_effect=effect)

    best, safe, risky = one("a", 0.9, Risk.HIGH), one("c", 0.5, Risk.LOW), one("b", 0.5, Risk.MEDIUM)
    never = one("d", 1.0, Risk.LOW, feasible=False)
    assert order([risky, never, safe, best], frozenset()) == [best, safe, risky]
    assert order([risky, safe, best], frozenset({best.action.hash})) == [safe, risky]


def test_every_action_declares_what_it_needs() -> None:
    for type_, plugin in ACTIONS:
        spec = plugin.spec
        verbs = {verb for permission in spec.permissions for verb in permission.verbs}
        assert spec.type == type_
        assert spec.kinds and spec.description
        assert bool(spec.criteria) is bool(spec.permissions)
        assert verbs <= {"get", "list", "patch", "create", "delete"}
        irreversible = spec.type in ("delete_pod", "evict_pod", "expand_pvc")
        assert spec.reversible is not irreversible
