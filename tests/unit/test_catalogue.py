"""What each action of the catalogue offers for which cause, what it refuses, and its bounds on the live object."""

from __future__ import annotations

from typing import Any

import pytest

from activities.actions import ACTIONS, ReadsLists, propose
from cortexops.domain.action import Action, Candidate, Infeasible, Risk
from cortexops.domain.change import Verb
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.errors import InvalidInput, Rejected
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Edge, Relation
from tests.investigation.objects import (
    NOW,
    ago,
    container,
    deployment,
    node,
    pod,
    ref,
    running,
    scene,
    template,
)
from tests.unit.test_actions import because, history, limit_range, offers, quota, sized
from tests.unit.test_undo_of_actions import keyed, named

APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def with_facts(category: Category, resource: ResourceRef, **facts: str) -> Diagnosis:
    cause = Hypothesis(
        resource=resource,
        category=category,
        summary="x",
        support=Support(direct=1),
        facts=facts,
        confidence=0.9,
    )
    return Diagnosis(target=resource, verdict=Verdict.ROOT_CAUSE, hypotheses=(cause,))


def on(type_: str, live: JSON, category: Category, *others: JSON, **facts: str) -> Candidate:
    target = ref(live["kind"], live["metadata"]["name"])
    (found,) = ACTIONS[type_].propose(scene(target, live, *others), with_facts(category, target, **facts))
    return found


def prepare(type_: str, live: JSON, *reads: JSON, **params: Any) -> Any:
    action = Action(type=type_, target=ref(live["kind"], live["metadata"]["name"]), params=params)
    return ACTIONS[type_].prepare(live, action, keyed(*reads), NOW)


# -- rollouts ----------------------------------------------------------------------------------------


def half_way() -> JSON:
    live = deployment()
    live["status"] |= {"replicas": 3, "updatedReplicas": 1}
    return live


def test_a_rollout_that_is_under_way_may_be_paused_behind_every_remedy() -> None:
    found = on("pause_rollout", half_way(), Category.BAD_ROLLOUT)
    assert (found.feasible, found.contains_only, found.risk) == (True, True, Risk.LOW)
    assert found.commands == ("kubectl rollout pause -n shop deployment/api",)
    live, sets = history("1", "2")
    live["status"] |= {"replicas": 3, "updatedReplicas": 1}
    target = ref("Deployment", "api")
    first = propose(scene(target, live, *sets), because(Category.BAD_ROLLOUT, target))[0]
    assert first.action.type == "rollback_rollout"


def test_a_rollout_that_is_over_or_paused_is_not_paused() -> None:
    assert on("pause_rollout", deployment(), Category.BAD_ROLLOUT).infeasible is Infeasible.NOTHING_TO_CHANGE
    live = half_way()
    live["spec"]["paused"] = True
    assert on("pause_rollout", live, Category.BAD_ROLLOUT).infeasible is Infeasible.ROLLOUT_PAUSED
    with pytest.raises(Rejected, match="paused already"):
        prepare("pause_rollout", live)


def test_a_paused_rollout_is_resumed_only_when_the_pause_is_the_cause() -> None:
    live = deployment()
    live["spec"]["paused"] = True
    assert on("resume_rollout", live, Category.ROLLOUT_PAUSED).feasible
    target = ref("Deployment", "api")
    assert not ACTIONS["resume_rollout"].propose(scene(target, live), because(Category.BAD_ROLLOUT, target))
    assert on("resume_rollout", deployment(), Category.ROLLOUT_PAUSED).infeasible
    with pytest.raises(Rejected, match="is not paused"):
        prepare("resume_rollout", deployment())


# -- a revision's evidence ---------------------------------------------------------------------------


def lived(*minutes: float) -> tuple[JSON, list[JSON]]:
    """Revisions of which each was replaced after so many minutes; the last is the present one."""
    live, sets = history(*(str(n) for n in range(len(minutes) + 1)))
    for place, one in enumerate(sets):
        one["metadata"]["creationTimestamp"] = ago(minutes=5 + sum(minutes[place:]))
    return live, sets


@pytest.mark.parametrize(
    ("minutes", "revision", "words"),
    [
        ((60,), 1, "was in service for 60 minutes"),
        ((60 * 24 * 3, 2), 1, "was in service for 3 days"),
        ((60, 300), 2, "was in service for 5 hours"),
        ((2, 1), None, "nothing shows"),
    ],
)
def test_a_rollback_goes_to_a_revision_that_is_known_to_have_worked(
    minutes: tuple[float, ...], revision: int | None, words: str
) -> None:
    live, sets = lived(*minutes)
    target = ref("Deployment", "api")
    found = offers("rollback_rollout", scene(target, live, *sets), Category.CRASH_SINCE_RELEASE, target)
    assert found.action.params.get("to_revision") == revision
    assert words in found.why
    assert found.infeasible is (None if revision else Infeasible.NO_HEALTHY_REVISION)


# -- jobs --------------------------------------------------------------------------------------------


def job(condition: str = "Failed") -> JSON:
    labels = {"controller-uid": "x", "job-name": "import", "app": "import"}
    spec = {
        "selector": {"matchLabels": {"controller-uid": "x"}},
        "template": {
            "metadata": {"labels": labels, "creationTimestamp": None},
            "spec": {"containers": [container()]},
        },
    }
    status = {"conditions": [{"type": condition, "status": "True"}]} if condition else {}
    return named("Job", spec, "import", status=status)


def cron(**spec: Any) -> JSON:
    return named("CronJob", {"jobTemplate": {"spec": {"template": template("import")}}, **spec}, "nightly")


def test_a_failed_job_is_run_again_from_its_template_without_the_old_ones_labels() -> None:
    assert on("rerun_job", job(), Category.JOB_FAILED).feasible
    change = prepare("rerun_job", job()).change
    assert change.verb is Verb.CREATE and change.body is not None
    assert "selector" not in change.body["spec"]
    assert change.body["spec"]["template"]["metadata"]["labels"] == {"app": "import"}
    assert prepare("rerun_job", cron()).change.body["spec"]["template"]["spec"] == template("import")["spec"]


def test_a_job_that_is_done_runs_or_belongs_to_a_suspended_cronjob_is_not_run_again() -> None:
    for condition, words in (("Complete", "is complete"), ("", "has not failed")):
        assert words in on("rerun_job", job(condition), Category.JOB_FAILED).why
        with pytest.raises(Rejected, match=words):
            prepare("rerun_job", job(condition))
    assert "suspended" in on("rerun_job", cron(suspend=True), Category.JOB_FAILED).why
    with pytest.raises(Rejected, match="is suspended"):
        prepare("rerun_job", cron(suspend=True))


@pytest.mark.parametrize("policy", ["Forbid", "Replace", "Allow"])
def test_a_cronjob_is_not_run_again_beside_a_run_that_is_under_way(policy: str) -> None:
    busy = cron(concurrencyPolicy=policy) | {"status": {"active": [{"kind": "Job", "name": "nightly-1"}]}}
    assert "under way" in on("rerun_job", busy, Category.JOB_FAILED).why
    with pytest.raises(Rejected, match="has a run under way"):
        prepare("rerun_job", busy)


def test_a_cronjob_is_suspended_when_its_jobs_fail_and_resumed_when_that_is_the_cause() -> None:
    found = on("suspend_cronjob", cron(), Category.JOB_FAILED)
    assert (found.feasible, found.contains_only) == (True, True)
    assert on("suspend_cronjob", cron(suspend=True), Category.JOB_FAILED).infeasible
    assert on("resume_cronjob", cron(suspend=True), Category.CRONJOB_SUSPENDED).feasible
    assert on("resume_cronjob", cron(), Category.CRONJOB_SUSPENDED).infeasible
    for type_, live in (("suspend_cronjob", cron(suspend=True)), ("resume_cronjob", cron())):
        with pytest.raises(Rejected):
            prepare(type_, live)


# -- autoscaler and scale ----------------------------------------------------------------------------


def scaler(most: int = 4, least: int = 1) -> JSON:
    target = {"kind": "Deployment", "name": "api"}
    return named(
        "HorizontalPodAutoscaler", {"minReplicas": least, "maxReplicas": most, "scaleTargetRef": target}
    )


def roomy(memory: str, **spec: Any) -> JSON:
    made = node("node-9")
    made["status"]["allocatable"] = {"memory": memory}
    made["spec"] |= spec
    return made


@pytest.mark.parametrize(
    ("others", "most"),
    [
        ((), 6),
        ((quota("1000Mi", "900Mi", "requests.memory"),), None),  # 100Mi left, a pod takes 128Mi
        ((quota("1000Mi", "500Mi", "requests.memory"),), 5),
        ((quota("10", "8", "pods"),), None),
        ((roomy("640Mi"),), 5),
        ((roomy("64Gi"),), 6),
    ],
)
def test_an_autoscalers_maximum_is_raised_by_half_within_quota_and_nodes(
    others: tuple[JSON, ...], most: int | None
) -> None:
    found = on("hpa_bounds", scaler(), Category.HPA_MAXED_OUT, deployment(), *others)
    if most is None:
        assert found.infeasible is Infeasible.BOUND_REACHED
        assert "ResourceQuota quota" in found.why or "nodes'" in found.why
    else:
        assert found.action.params == {"max_replicas": most}
        assert prepare("hpa_bounds", scaler(), deployment(), *others, **found.action.params)


def test_a_maximum_out_of_bounds_is_refused_on_the_live_object() -> None:
    for wanted in (4, 3, 9, 0, -1):
        with pytest.raises(Rejected, match="at most 2 times"):
            prepare("hpa_bounds", scaler(), max_replicas=wanted)
    with pytest.raises(Rejected, match="room for"):
        prepare("hpa_bounds", scaler(), deployment(), quota("3", "2", "pods"), max_replicas=8)
    assert prepare("hpa_bounds", scaler(), max_replicas=8).change.edits[0].after == 8


def budget(healthy: int) -> JSON:
    spec = {"selector": {"matchLabels": {"app": "api"}}}
    return named("PodDisruptionBudget", spec, "guard", status={"desiredHealthy": healthy})


@pytest.mark.parametrize(
    ("present", "wanted", "other", "words"),
    [
        (2, 4, scaler(3), "keeps Deployment shop/api between 1 and 3"),
        (2, 3, scaler(8), "would set them back"),
        (4, 1, budget(2), "needs 2 healthy pods"),
        (2, 4, quota("3", "2", "pods"), "room for"),
    ],
)
def test_a_scale_stays_within_autoscaler_budget_and_quota(
    present: int, wanted: int, other: JSON, words: str
) -> None:
    with pytest.raises(Rejected, match=words):
        prepare("scale_workload", deployment(replicas=present), other, replicas=wanted)
    assert prepare("scale_workload", deployment(replicas=present), replicas=wanted)


def test_an_autoscaler_that_is_switched_off_by_zero_replicas_does_not_stand_in_the_way() -> None:
    assert prepare("scale_workload", deployment(replicas=0, ready=0), scaler(3), replicas=1)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ((limit_range("200Mi"),), "LimitRange bounds allows"),
        ((quota("300Mi", "256Mi"),), "ResourceQuota quota"),
        ((roomy("400Mi"),), "half of the largest node"),
        ((quota("224Mi", "128Mi", "requests.memory"),), "memory_request 192Mi is above"),
    ],
)
def test_more_memory_than_the_namespace_or_the_nodes_allow_is_refused_on_the_live_object(
    others: tuple[JSON, ...], words: str
) -> None:
    with pytest.raises(Rejected, match=words):
        prepare(
            "adjust_resources",
            sized("128Mi"),
            *others,
            container="api",
            memory_limit="256Mi",
            memory_request="192Mi",
        )


# -- nodes and pods ----------------------------------------------------------------------------------


def test_a_node_is_uncordoned_only_with_a_persons_yes() -> None:
    cordoned = node()
    cordoned["spec"]["unschedulable"] = True
    found = on("uncordon_node", cordoned, Category.NODE_UNSCHEDULABLE)
    assert (found.feasible, found.risk) == (True, Risk.HIGH)
    assert "never uncordoned without a person's yes" in found.caveats[0]
    sick = node(ready="False")
    sick["spec"]["unschedulable"] = True
    assert on("uncordon_node", sick, Category.NODE_UNSCHEDULABLE).infeasible is Infeasible.BOUND_REACHED
    with pytest.raises(Rejected, match="not ready"):
        prepare("uncordon_node", sick | {"metadata": {"name": "node-1", "uid": "u"}})


def test_a_failing_node_is_cordoned_first_then_taken_out_then_drained() -> None:
    sick, well = node("node-1", ready="False"), node("node-2")
    target = ref("Node", "node-1")
    made = scene(target, sick, well, deployment(), pod(deployment(), running(), node="node-1"))
    found = propose(made, because(Category.NODE_NOT_READY, target))
    assert [c.action.type for c in found if c.feasible] == [
        "cordon_node",
        "remove_node_from_service",
        "drain_node",
    ]
    assert all(c.contains_only for c in found)
    alone = scene(target, sick, pod(deployment(), running(), node="node-1"))
    assert {c.infeasible for c in propose(alone, because(Category.NODE_NOT_READY, target))} == {
        Infeasible.NO_OTHER_NODE
    }


def test_a_guarded_pod_is_evicted_rather_than_deleted() -> None:
    live = pod(deployment(), running())
    target = ref("Pod", "api-x7k2p")
    plain = propose(scene(target, live, deployment()), because(Category.STUCK_POD, target))
    assert [c.action.type for c in plain][:2] == ["delete_pod", "evict_pod"]
    guard = budget(1)
    guard["status"]["disruptionsAllowed"] = 1
    made = scene(target, live, deployment(), guard)
    edge = Edge(
        source=ref("PodDisruptionBudget", "guard"), relation=Relation.GUARDS, target=ref("Deployment", "api")
    )
    made = made.model_copy(
        update={"topology": made.topology.model_copy(update={"edges": (*made.topology.edges, edge)})}
    )
    found = propose(_fresh(made), because(Category.STUCK_POD, target))
    assert found[0].action.type == "evict_pod" and not found[0].reversible
    guard["status"]["disruptionsAllowed"] = 0
    refused = propose(_fresh(made), because(Category.STUCK_POD, target))
    of_pods = [c for c in refused if c.action.target == target]
    assert {c.infeasible for c in of_pods} == {Infeasible.BUDGET_EXHAUSTED}


def _fresh(made: Scene) -> Scene:
    """The scene without what it has computed of its edges before."""
    return Scene.model_validate(made.model_dump())


# -- all of them -------------------------------------------------------------------------------------


def test_every_action_declares_what_its_lists_need() -> None:
    plurals = {
        "LimitRange": "limitranges", "ResourceQuota": "resourcequotas", "Node": "nodes", "Pod": "pods",
        "Deployment": "deployments", "StatefulSet": "statefulsets", "StorageClass": "storageclasses",
        "HorizontalPodAutoscaler": "horizontalpodautoscalers", "PodDisruptionBudget": "poddisruptionbudgets",
    }  # fmt: skip
    for type_, plugin in ACTIONS:
        if not isinstance(plugin, ReadsLists) or type_ == "open_pull_request":
            continue
        action = Action(type=type_, target=ref(plugin.spec.kinds[0], "x"), params={})
        granted = {p.resource for p in plugin.spec.permissions if "list" in p.verbs}
        assert {plurals[listing.kind] for listing in plugin.lists(action)} <= granted, type_


def test_escalation_is_never_proposed_by_itself_and_needs_a_reason() -> None:
    target = ref("Deployment", "api")
    assert not ACTIONS["escalate"].propose(scene(target, deployment()), because(Category.CRASH, target))
    assert prepare("escalate", deployment(), reason="a person is at it").change.verb is Verb.NOTHING
    with pytest.raises(InvalidInput, match="reason"):
        prepare("escalate", deployment())
