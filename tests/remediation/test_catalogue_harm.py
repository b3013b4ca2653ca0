"""What is not offered because it would make things worse, or would not touch the cause, and what is said instead."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest

from activities.actions import propose
from cortexops.domain.action import Candidate, Infeasible, Risk
from cortexops.domain.around import Around, around
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.errors import Rejected
from cortexops.domain.manual import by_hand
from cortexops.domain.ownership import maker_of, writes_again
from cortexops.domain.remedies import heap_of, lock_words
from cortexops.domain.report_actions import escalation, recommended
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import LogExcerpt, Scene
from cortexops.domain.workload import patch_of
from tests.investigation.objects import (
    ago,
    config_map,
    container,
    deployment,
    node,
    pod,
    ref,
    replica_set,
    running,
    scene,
    template,
    terminated,
    waiting,
)  # fmt: skip

API = ref("Deployment", "api")


def because(
    category: Category, resource: ResourceRef = API, *, verdict: Verdict = Verdict.ROOT_CAUSE,
    precedes: bool | None = None, about: ResourceRef | None = None, name: str = "api", **facts: str,
) -> Diagnosis:  # fmt: skip
    cause = Hypothesis(
        resource=resource, category=category, summary="x", support=Support(direct=1, precedes_onset=precedes),
        container=name, facts=facts, confidence=0.9,
    )  # fmt: skip
    return Diagnosis(target=about or resource, verdict=verdict, hypotheses=(cause,))


def of(type_: str, made: Scene, diagnosis: Diagnosis) -> list[Candidate]:
    return [candidate for candidate in propose(made, diagnosis) if candidate.action.type == type_]


def one(type_: str, made: Scene, diagnosis: Diagnosis) -> Candidate:
    (found,) = of(type_, made, diagnosis)
    return found


def released(before: JSON, after: JSON, *, age: float = 10, **live: Any) -> list[JSON]:
    """A Deployment with two revisions, the present one made so many minutes ago."""
    whole = deployment(pod_template=after, **live)
    whole["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "2"}
    return [
        whole,
        replica_set(whole, 1, copy.deepcopy(before), ago(days=30)),
        replica_set(whole, 2, copy.deepcopy(after), ago(minutes=age)),
    ]


OLD = template("api", container(image="r/api:1"))
NEW = template("api", container(image="r/api:2"))


# -- a hypothesis ------------------------------------------------------------------------------------


def test_nothing_is_done_about_a_hypothesis_until_a_person_has_confirmed_it() -> None:
    made = scene(API, *released(OLD, NEW))
    sure = one("rollback_rollout", made, because(Category.BAD_ROLLOUT, previous_revision="1"))
    unsure = because(Category.BAD_ROLLOUT, verdict=Verdict.HYPOTHESIS, previous_revision="1")
    found = one("rollback_rollout", made, unsure)
    assert sure.feasible and not found.feasible
    assert found.infeasible is Infeasible.CAUSE_UNCONFIRMED and found.commands == sure.commands
    assert "once it is confirmed" in found.why
    assert escalation(unsure, [found]) == (True, "the cause is a hypothesis only")
    assert by_hand(unsure, API)[0].caveats[0].startswith("The cause is a hypothesis")


# -- going back --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "words"),
    [(60 * 24 * 18, "served for 17 days before"), (-30, "began before the present revision")],
)
def test_a_release_that_did_not_bring_the_trouble_is_not_rolled_back(age: float, words: str) -> None:
    made = scene(API, *released(OLD, NEW, age=age))
    found = one("rollback_rollout", made, because(Category.MEMORY_LEAK))
    assert found.infeasible is Infeasible.NOT_THE_CAUSE and words in found.why
    before = because(Category.CRASH_SINCE_RELEASE, precedes=False, previous_revision="1")
    assert (
        one("rollback_rollout", scene(API, *released(OLD, NEW)), before).infeasible
        is Infeasible.NOT_THE_CAUSE
    )


def test_what_is_missing_is_no_reason_to_go_back_to_who_asked_for_it_as_well() -> None:
    def asking(tag: str, name: str) -> JSON:
        return template("api", container(image=f"r/api:{tag}", envFrom=[{"configMapRef": {"name": name}}]))

    gone = ref("ConfigMap", "zones")
    both = scene(API, *released(asking("1", "zones"), asking("2", "zones")))
    found = one("rollback_rollout", both, because(Category.CONFIG_MISSING, gone, about=API))
    assert found.infeasible is Infeasible.NOT_THE_CAUSE and "asks for" in found.why
    since = scene(API, *released(asking("1", "areas"), asking("2", "zones")))
    assert one("rollback_rollout", since, because(Category.CONFIG_MISSING, gone, about=API)).feasible


def test_of_a_missing_claim_the_release_that_asks_for_it_goes_back_and_not_whoever_complained() -> None:
    def mounting(claim: str) -> JSON:
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": claim}}
        return template("api", container(), volumes=[volume])

    web = ref("Deployment", "web")
    made = scene(web, *released(mounting("data"), mounting("dta")), deployment("web"))
    found = one(
        "rollback_rollout",
        made,
        because(Category.VOLUME_UNBOUND, ref("PersistentVolumeClaim", "dta"), about=web),
    )
    assert found.feasible and found.action.target == API


@pytest.mark.parametrize(
    "category",
    [
        Category.SCHEDULING, Category.ADMISSION_DENIED, Category.RBAC_DENIED, Category.CONNECTION_SATURATION,
        Category.OOM_LIMIT_TOO_LOW, Category.CPU_THROTTLING,
    ],
)  # fmt: skip
def test_what_a_release_brought_goes_with_it_and_what_it_did_not_bring_does_not(category: Category) -> None:
    made = scene(API, *released(OLD, NEW))
    assert one("rollback_rollout", made, because(category, previous_revision="1")).feasible
    assert of("rollback_rollout", made, because(category)) == []


def test_a_release_that_waits_for_a_lock_is_not_rolled_back() -> None:
    migrate = {"name": "migrate", "image": "r/migrations:2", "command": ["liquibase", "update"]}
    after = template("api", container(image="r/api:2"), initContainers=[migrate])
    objects = released(OLD, after)
    waiting_pod = pod(objects[0], waiting("PodInitializing"))
    waiting_pod["status"]["initContainerStatuses"] = [running("migrate", since=ago(minutes=9))]
    made = scene(API, *objects, waiting_pod)
    line = "INFO [liquibase.lockservice] Waiting for changelog lock...."
    log = LogExcerpt(
        pod=ref("Pod", waiting_pod["metadata"]["name"]), container="migrate", previous=False, lines=(line,)
    )
    cause = because(Category.INIT_CONTAINER_FAILED, name="migrate", previous_revision="1")
    found = one("rollback_rollout", made.model_copy(update={"logs": (log,)}), cause)
    assert found.infeasible is Infeasible.NOT_THE_CAUSE and "lock" in found.why
    (step,) = by_hand(cause, API, None, [found])
    assert step.type == "inspect" and found.why in step.caveats  # nor are people told to
    unheld = one("rollback_rollout", made, cause)
    assert unheld.feasible and unheld.risk is Risk.HIGH
    assert "may have changed the database already" in unheld.caveats[-1]


@pytest.mark.parametrize(
    ("line", "held"),
    [
        ("Waiting for changelog lock....", True),
        ("could not obtain advisory lock 4711", True),
        ("FlywayException: Unable to acquire lock on schema history", True),
        ("Schema lock is held by migrate-7f9c since 13:40", True),
        ("waiting for topic joins", False),
        ("unlocked the door; blocking call", False),
        ("lock file created", False),
    ],
)
def test_a_lock_that_is_waited_for_is_told_from_other_words(line: str, held: bool) -> None:
    assert bool(lock_words((line,))) is held


def test_who_suffers_from_somebody_elses_fault_is_left_alone() -> None:
    made = scene(API, *released(OLD, NEW))
    injector = ref("ConfigMap", "injector", "mesh")
    found = one("rollback_rollout", made, because(Category.IMAGE_NOT_FOUND, injector, about=API))
    assert found.infeasible is Infeasible.NOT_THE_CAUSE and "suffers from" in found.why
    assert one("rollback_rollout", made, because(Category.IMAGE_NOT_FOUND)).feasible


# -- starting anew -----------------------------------------------------------------------------------


@pytest.mark.parametrize("category", [Category.CRASH, Category.STUCK_POD, Category.SECRET_CHANGED])
def test_pods_that_would_fail_in_the_same_way_are_not_restarted(category: Category) -> None:
    made = scene(API, deployment())
    resource = ref("Secret", "db") if category is Category.SECRET_CHANGED else API
    assert of("restart_workload", made, because(category, resource, about=API)) == []


def test_pods_that_hold_the_old_secret_are_restarted_and_that_resolves_it() -> None:
    reads = template("api", container(envFrom=[{"secretRef": {"name": "db"}}]))
    made = scene(API, deployment(pod_template=reads))
    cause = because(
        Category.SECRET_CHANGED, ref("Secret", "db"), about=ref("Deployment", "web"), holder_kind="Deployment",
        holder="api",
    )  # fmt: skip
    found = one("restart_workload", made, cause)
    assert (found.action.target, found.feasible, found.contains_only) == (API, True, False)
    assert "server expects the new value" in found.caveats[0]


def heap_full() -> tuple[Scene, Diagnosis]:
    live = deployment()
    dead = pod(live, running(restarts=4, last=terminated(3)))
    log = LogExcerpt(
        pod=ref("Pod", dead["metadata"]["name"]), container="api", previous=True,
        lines=("Terminating due to java.lang.OutOfMemoryError: Java heap space",),
    )  # fmt: skip
    return scene(API, live, dead).model_copy(update={"logs": (log,)}), because(Category.CRASH)


def test_a_restart_contains_a_full_heap_and_a_leak_and_goes_on_to_people() -> None:
    made, cause = heap_full()
    leak = because(Category.MEMORY_LEAK)
    for found in (
        one("restart_workload", made, cause),
        one("restart_workload", scene(API, deployment()), leak),
    ):
        assert found.feasible and found.contains_only
    all_of_it = propose(made, cause)
    assert escalation(cause, all_of_it) == (
        True,
        "what is offered contains the trouble and does not mend its cause",
    )
    first, second, *_ = recommended(cause, all_of_it, API, None)
    assert (first["type"], first["effect"], first["feasible"]) == ("restart_workload", "contains", True)
    assert 0 < first["expected_effect"] <= 1 and "does not mend its cause" in first["caveats"][0]
    assert (second["type"], second["feasible"]) == ("inspect", False)


# -- more of something -------------------------------------------------------------------------------


def limited(limit: str, **more: Any) -> JSON:
    return template("api", container(resources={"limits": {"memory": limit}}, **more))


def test_more_memory_only_contains_a_leak_and_what_falls_short_of_the_limit_before() -> None:
    leak = one("adjust_resources", scene(API, deployment()), because(Category.MEMORY_LEAK))
    assert leak.feasible and leak.contains_only
    cut = scene(API, *released(limited("1Gi"), limited("128Mi")))
    cause = because(Category.OOM_LIMIT_TOO_LOW, previous_revision="1")
    back, more = [c for c in propose(cut, cause) if c.feasible]
    assert (back.action.type, back.contains_only) == ("rollback_rollout", False)
    assert (more.action.type, more.contains_only) == ("adjust_resources", True)
    enough = scene(API, *released(limited("200Mi"), limited("128Mi")))
    assert not one("adjust_resources", enough, cause).contains_only


@pytest.mark.parametrize("minutes", [2, 45])
def test_memory_that_grows_since_a_release_goes_with_it_and_what_starts_too_large_gets_more(
    minutes: int,
) -> None:
    objects = released(OLD, NEW)
    ended = terminated(137, "OOMKilled", started=ago(minutes=minutes + 1), at=ago(minutes=1))
    made = scene(API, *objects, pod(objects[0], running(restarts=3, last=ended)))
    found = [
        c for c in propose(made, because(Category.OOM_AFTER_RELEASE, previous_revision="1")) if c.feasible
    ]
    wanted = ["rollback_rollout", "adjust_resources"]
    assert [c.action.type for c in found][:2] == (wanted if minutes > 10 else wanted[::-1])


def test_a_heap_that_may_grow_beyond_the_new_limit_gets_no_more_memory() -> None:
    for flags, refused in (({"args": ["-Xmx3g"]}, True), ({"args": ["-Xmx300m"]}, False)):
        found = one(
            "adjust_resources", scene(API, deployment(pod_template=limited("256Mi", **flags))),
            because(Category.OOM_LIMIT_TOO_LOW),
        )  # fmt: skip
        assert (found.infeasible is Infeasible.NOT_THE_CAUSE) is refused
    assert heap_of({"env": [{"name": "NODE_OPTIONS", "value": "--max-old-space-size=512"}]}) == (
        Decimal(512 * 2**20),
        "--max-old-space-size=512",
    )
    assert heap_of(container()) is None


def test_a_limit_that_somebody_else_sets_is_not_changed_in_the_template() -> None:
    live = deployment(pod_template=limited("1Gi"))
    given = pod(live, running())
    given["spec"] = limited("180Mi")["spec"] | {"nodeName": "node-1"}
    found = one("adjust_resources", scene(API, live, given), because(Category.OOM_LIMIT_TOO_LOW))
    assert found.infeasible is Infeasible.SET_BY_ANOTHER and "180Mi" in found.why


# -- pods, nodes, jobs -------------------------------------------------------------------------------


def test_a_pod_that_is_being_deleted_is_not_deleted_again() -> None:
    live = pod(deployment(), running())
    live["metadata"] |= {"deletionTimestamp": ago(minutes=20), "finalizers": ["example.com/backup"]}
    target = ref("Pod", live["metadata"]["name"])
    made = scene(target, live, deployment())
    cause = because(Category.STUCK_POD, target)
    assert all(not candidate.feasible for candidate in propose(made, cause))
    assert around(made, cause) == Around(about=target, finalizers=("example.com/backup",))
    (step,) = by_hand(cause, API, around(made, cause))
    assert "example.com/backup" in " ".join(step.caveats)
    assert not [c for c in step.commands if "delete" in c or "patch" in c]


def test_a_node_whose_kubelet_is_silent_is_not_drained_and_fencing_is_for_people() -> None:
    silent, well, target = node("node-1", ready="Unknown"), node("node-2"), ref("Node", "node-1")
    made = scene(target, silent, well, deployment(), pod(deployment(), running(), node="node-1"))
    cause = because(Category.NODE_NOT_READY, target)
    assert one("drain_node", made, cause).infeasible is Infeasible.NOT_THE_CAUSE
    assert [c.action.type for c in propose(made, cause) if c.feasible] == [
        "cordon_node",
        "remove_node_from_service",
    ]
    (step,) = by_hand(cause, API, around(made, cause))
    assert (step.type, step.risk) == ("fence_node", Risk.HIGH)
    assert "known to be off" in step.caveats[0]
    pressed = because(Category.NODE_PRESSURE, target)  # whoever presses it would press the next one
    assert [c.action.type for c in propose(made, pressed) if c.feasible] == ["cordon_node"]


def named(kind: str, name: str, spec: JSON, status: JSON) -> JSON:
    return {
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "uid": "u"},
        "spec": spec,
        "status": status,
    }


def test_a_job_that_failed_each_time_or_stands_in_its_own_way_is_not_run_again() -> None:
    failed = {"conditions": [{"type": "Failed", "status": "True"}]}
    target = ref("Job", "load")
    for tries, offered in ((1, True), (3, False)):
        made = scene(target, named("Job", "load", {"template": OLD}, failed | {"failed": tries}))
        assert one("rerun_job", made, because(Category.JOB_FAILED, target)).feasible is offered
    cron = ref("CronJob", "nightly")
    active = {"active": [{"kind": "Job", "name": "nightly-1"}]}
    made = scene(cron, named("CronJob", "nightly", {"jobTemplate": {"spec": {"template": OLD}}}, active))
    cause = because(Category.JOB_FAILED, cron, job="nightly-1")
    found = propose(made, cause)
    assert {c.action.type: c.infeasible for c in found} == {
        "rerun_job": Infeasible.NOT_THE_CAUSE,
        "suspend_cronjob": Infeasible.NOT_THE_CAUSE,
    }
    (step,) = by_hand(cause, None, None, found)
    assert not [c for c in step.commands if "create job" in c]


# -- whose it is -------------------------------------------------------------------------------------


def test_what_an_operator_makes_is_left_to_it() -> None:
    owned = deployment()
    owned["metadata"]["ownerReferences"] = [
        {"apiVersion": "flink.apache.org/v1", "kind": "FlinkDeployment", "name": "jobs", "controller": True}
    ]
    assert maker_of(owned) == "FlinkDeployment jobs"
    found = one("adjust_resources", scene(API, owned), because(Category.OOM_LIMIT_TOO_LOW))
    assert found.infeasible is Infeasible.SET_BY_ANOTHER and "FlinkDeployment jobs" in found.why
    with pytest.raises(Rejected, match="made by FlinkDeployment"):
        patch_of(owned, API, [], [])
    assert maker_of(pod(deployment(), running())) == ""


@pytest.mark.parametrize(
    ("manager", "again"),
    [
        ("argocd-controller", True), ("kustomize-controller", True), ("external-secrets", True), ("vault-agent", True),
        ("flink-operator", True), ("helm", False), ("terraform", False), ("kubectl-edit", False), ("ci-bot", False),
    ],
)  # fmt: skip
def test_a_value_that_a_controller_writes_is_changed_where_it_comes_from(manager: str, again: bool) -> None:
    assert writes_again(manager) is again
    env = ref("ConfigMap", "api-env")
    cause = because(
        Category.CONFIGMAP_CHANGED, env, about=API, key="HOST", previous_value="db", changed_by=manager
    )
    (step,) = by_hand(cause, API)
    changing = [c for c in step.commands if " patch " in c or " edit " in c or "restart" in c]
    assert bool(changing) is not again
    live = config_map("api-env", {"HOST": "dbx"})
    found = of("patch_config", scene(env, live), cause)
    assert [c.infeasible for c in found] == [
        Infeasible.SET_BY_ANOTHER if again else Infeasible.NO_EARLIER_VALUE
    ]


def test_what_git_owns_people_change_there_too() -> None:
    cause = because(Category.SERVICE_MISROUTED, ref("Service", "api"))
    seen = Around(about=ref("Service", "api"), owner="Argo CD (application shop)", reverts=True)
    (step,) = by_hand(cause, API, seen)
    assert not [c for c in step.commands if " edit " in c]
    assert step.caveats[0].startswith("Argo CD (application shop) writes")
    helm = Around(about=ref("Service", "api"), owner="Helm (release shop)")
    (step,) = by_hand(cause, API, helm)
    assert [c for c in step.commands if " edit " in c] and "next upgrade overwrites" in step.caveats[-1]


def test_only_those_are_restarted_who_read_the_configuration() -> None:
    core = ref("ConfigMap", "coredns", "kube-system")
    seen = Around(about=core, readers=(ref("Deployment", "coredns", "kube-system"),))
    cause = because(Category.CONFIGMAP_CHANGED, core, about=API, key="Corefile", changed_by="kubectl-edit")
    (step,) = by_hand(cause, API, seen)
    restarts = [c for c in step.commands if "rollout restart" in c]
    assert restarts == ["kubectl -n kube-system rollout restart deployment/coredns"]


def test_who_waits_for_a_missing_secret_is_not_restarted() -> None:
    gone = ref("Secret", "keys")
    missing = Category.CONFIG_MISSING
    for cause in (
        because(missing, gone, about=API),
        because(missing, gone, about=API, key="password"),
        because(missing, gone, about=API, tls="true"),
    ):
        (step,) = by_hand(cause, API)
        assert not [c for c in step.commands if "restart" in c or "FILE" in c]
        assert "go on by themselves" in step.caveats[-1]


@pytest.mark.parametrize(
    "category",
    [Category.REGISTRY_UNREACHABLE, Category.REGISTRY_RATE_LIMITED, Category.EXTERNAL_DEPENDENCY],
)
def test_for_what_lies_outside_nothing_is_changed_inside(category: Category) -> None:
    cause = because(category, previous_image="r/api:1", previous_revision="1")
    assert not [c for c in propose(scene(API, *released(OLD, NEW)), cause) if c.feasible]
    (step,) = by_hand(cause, API)
    assert step.type == "investigate_outside"


def test_a_statefulset_goes_back_together_with_the_pod_that_it_waits_for() -> None:
    db = ref("StatefulSet", "db")
    (step,) = by_hand(because(Category.IMAGE_NOT_FOUND, db, previous_revision="1", pod="db-0"), db)
    assert step.commands[-2:] == (
        "kubectl -n shop rollout undo statefulset/db --to-revision=1",
        "kubectl -n shop delete pod db-0",
    )


def test_a_budget_is_not_deleted_and_a_quota_not_changed_back() -> None:
    (step,) = by_hand(because(Category.PDB_BLOCKS_EVICTION, ref("PodDisruptionBudget", "guard")), API)
    assert "do not delete it" in step.caveats[0]
    (step,) = by_hand(because(Category.QUOTA_EXCEEDED, ref("ResourceQuota", "team")), API)
    assert "free what nobody needs" in step.caveats[0]
