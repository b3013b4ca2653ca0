"""Values and volumes: what goes back to an earlier value, what grows, and within which bounds."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from typing import Any

import pytest

from activities.actions import ACTIONS
from cortexops.domain.action import Infeasible, Risk
from cortexops.domain.change import pointer
from cortexops.domain.diagnosis import Category
from cortexops.domain.errors import InvalidInput, Rejected
from cortexops.domain.health import measure_read
from cortexops.domain.resource import JSON
from cortexops.domain.verification import Phase
from tests.investigation.objects import (
    NOW,
    ago,
    config_map,
    container,
    deployment,
    pod,
    ref,
    replica_set,
    running,
    scene,
    service,
    template,
    waiting,
)
from tests.unit.test_actions import quota
from tests.unit.test_catalogue import APPLIED, on, prepare, with_facts
from tests.unit.test_undo_of_actions import named


def applied(live: JSON, **data: str) -> JSON:
    live["metadata"]["annotations"] = {APPLIED: json.dumps({"data": data})}
    live["metadata"]["uid"] = "u"
    return live


def test_a_key_goes_back_to_what_was_applied_and_a_secret_looking_value_is_not_spelled_out() -> None:
    live = applied(config_map("env", {"PORT": "80x", "PASSWORD": "y"}), PORT="80", PASSWORD="hunter2hunter2")
    found = on("patch_config", live, Category.CONFIGMAP_CHANGED, key="PORT")
    assert found.action.params == {"key": "PORT", "source": "last_applied", "value": "80"}
    assert prepare("patch_config", live, **found.action.params).change.edits[0].path == pointer(
        "data", "PORT"
    )
    hidden = on("patch_config", live, Category.CONFIGMAP_CHANGED, key="PASSWORD")
    assert hidden.feasible and "hunter2" not in hidden.model_dump_json()


@pytest.mark.parametrize(
    ("live", "key"),
    [
        (config_map("env", {"PORT": "80x"}), "PORT"),
        (applied(config_map("env", {"PORT": "80x"}), PORT="80x"), "PORT"),
        (applied(config_map("env", {"PORT": "80x"}), PORT="80"), ""),
    ],
)
def test_without_an_earlier_value_nothing_is_restored_and_the_reason_is_said(live: JSON, key: str) -> None:
    found = on("patch_config", copy.deepcopy(live), Category.CONFIGMAP_CHANGED, key=key)
    assert found.infeasible is Infeasible.NO_EARLIER_VALUE


def test_a_secret_is_offered_only_when_its_history_says_that_a_value_is_noted() -> None:
    def secret(changed: bool) -> JSON:
        def write(manager: str, at: str, fields: JSON) -> JSON:
            return {"manager": manager, "operation": "Update", "time": at, "fieldsV1": fields}

        fields = [
            write(
                "kubectl-client-side-apply",
                ago(days=9),
                {"f:metadata": {"f:annotations": {f"f:{APPLIED}": {}}}},
            )
        ]
        if changed:
            fields.append(write("kubectl-edit", ago(hours=1), {"f:data": {"f:k": {}}}))
        live = named("Secret", {}, "keys")
        live["metadata"]["managedFields"] = fields
        return live | {"data": {"k": ""}}

    assert on("patch_config", secret(True), Category.SECRET_CHANGED, key="k").feasible
    plain = secret(True)
    plain["metadata"]["managedFields"].pop(0)
    found = on("patch_config", plain, Category.SECRET_CHANGED, key="k")
    assert found.infeasible is Infeasible.NO_EARLIER_VALUE
    with pytest.raises(InvalidInput, match="never given"):
        prepare(
            "patch_config", applied(secret(True), k="Z29vZA=="), key="k", source="last_applied", value="x"
        )


def test_an_immutable_map_is_left_alone() -> None:
    live = applied(config_map("env", {"k": "bad"}), k="good") | {"immutable": True}
    with pytest.raises(Rejected, match="immutable"):
        prepare("patch_config", live, key="k", source="last_applied")


# -- volumes -----------------------------------------------------------------------------------------


def claim(size: str = "10Gi", has: str = "10Gi") -> JSON:
    spec = {"storageClassName": "fast", "resources": {"requests": {"storage": size}}}
    status = {"phase": "Bound", "capacity": {"storage": has}}
    return named("PersistentVolumeClaim", spec, "data", status=status)


def storage(expands: bool | None = True) -> JSON:
    more = {} if expands is None else {"allowVolumeExpansion": expands}
    return {"kind": "StorageClass", "metadata": {"name": "fast"}} | more


def test_a_full_volume_is_expanded_by_half_and_that_is_a_high_risk_without_a_way_back() -> None:
    found = on("expand_pvc", claim(), Category.VOLUME_FULL, storage())
    assert found.action.params == {"size": "15Gi"}
    assert (found.risk, found.reversible) == (Risk.HIGH, False)
    assert prepare("expand_pvc", claim(), storage(), size="15Gi").change.edits[0].after == "15Gi"


@pytest.mark.parametrize(
    ("live", "others", "infeasible"),
    [
        (claim(), (), Infeasible.NOT_EXPANDABLE),
        (claim(), (storage(False),), Infeasible.NOT_EXPANDABLE),
        (claim(), (storage(None),), Infeasible.NOT_EXPANDABLE),
        (claim("15Gi", "10Gi"), (storage(),), Infeasible.NOT_EXPANDABLE),
        (claim(), (storage(), quota("10Gi", "10Gi", "requests.storage")), Infeasible.BOUND_REACHED),
    ],
)
def test_a_volume_that_cannot_or_may_not_grow_is_left_alone(
    live: JSON, others: tuple[JSON, ...], infeasible: Infeasible
) -> None:
    assert on("expand_pvc", live, Category.VOLUME_FULL, *others).infeasible is infeasible
    with pytest.raises(Rejected):
        prepare("expand_pvc", live, *others, size="16Gi" if live == claim() else "20Gi")


@pytest.mark.parametrize("size", ["10Gi", "9Gi", "21Gi", "much"])
def test_a_size_out_of_bounds_is_refused(size: str) -> None:
    with pytest.raises((Rejected, InvalidInput)):
        prepare("expand_pvc", claim(), storage(), size=size)


def test_pods_that_crashed_lately_with_the_value_are_made_anew_and_no_others() -> None:
    reads: JSON = {
        "env": [{"name": "PORT", "valueFrom": {"configMapKeyRef": {"name": "env", "key": "PORT"}}}]
    }
    owner = deployment(pod_template=template("api", container(**reads)))
    crash = {"exitCode": 1, "finishedAt": ago(minutes=3)}
    cases = {
        "lately": pod(owner, running(last=crash), suffix="lately"),
        "waiting": pod(owner, running(last={**crash, "finishedAt": ago(minutes=14)}), suffix="waiting"),
        "old": pod(owner, running(last={**crash, "finishedAt": ago(hours=2)}), suffix="old"),
        "done": pod(owner, running(last={**crash, "exitCode": 0}), suffix="done"),
        "well": pod(owner, running(), suffix="well"),
        "other": pod(deployment(), running(last=crash), suffix="other"),
    }
    alone = copy.deepcopy(cases["lately"])
    alone["metadata"] |= {"name": "alone", "uid": "alone", "ownerReferences": []}
    live = applied(config_map("env", {"PORT": "80x"}, changed={"PORT": ago(hours=1)}), PORT="80")
    made = prepare("patch_config", live, *cases.values(), alone, key="PORT", source="last_applied")
    assert [p.name for p in made.change.pods] == ["api-lately", "api-waiting"]


FROM_KEY: JSON = {"env": [{"name": "P", "valueFrom": {"configMapKeyRef": {"name": "env", "key": "PORT"}}}]}
FROM_ALL: JSON = {"envFrom": [{"configMapRef": {"name": "env"}}]}
ANOTHER_KEY: JSON = {"env": [{"name": "P", "valueFrom": {"configMapKeyRef": {"name": "env", "key": "HOST"}}}]}


def mounted(**more: JSON | str) -> JSON:
    return {"volumeMounts": [{"name": "files", "mountPath": "/etc/app", **more}]}


def serving(takes: JSON, items: JSON | None = None, *, owner: str = "ReplicaSet", **status: Any) -> JSON:
    """A pod that runs without a crash; its volume `files` is of the ConfigMap."""
    source = {"name": "env"} | ({"items": [items]} if items else {})
    body = template("api", container(**takes), volumes=[{"name": "files", "configMap": source}])
    made = pod(replica_set(deployment(), 1, body, ago(days=3)), running(**status))
    made["metadata"]["ownerReferences"][0]["kind"] = owner
    return made


def put_back(*pods: JSON, changed: str = "") -> list[str]:
    """The pods that go when PORT is put back, which was written an hour ago if nothing else is said."""
    live = config_map("env", {"PORT": "80x", "HOST": "a"}, changed={"PORT": changed or ago(hours=1)})
    made = prepare(
        "patch_config", applied(live, PORT="80", HOST="a"), *pods, key="PORT", source="last_applied"
    )
    return [one.uid for one in made.change.pods]


@pytest.mark.parametrize(
    ("takes", "items"),
    [
        (FROM_KEY, None),
        (FROM_ALL, None),
        (mounted(subPath="PORT"), None),
        (mounted(subPath="conf/port"), {"key": "PORT", "path": "conf/port"}),
        (mounted(subPath="conf"), {"key": "PORT", "path": "conf/port"}),
        (mounted(subPathExpr="$(WHICH)"), None),
    ],
)
def test_pods_that_serve_and_took_the_value_at_their_start_are_made_anew(
    takes: JSON, items: JSON | None
) -> None:
    assert put_back(serving(takes, items, since=ago(minutes=30))) == ["uid-x7k2p"]


@pytest.mark.parametrize(
    ("takes", "items"),
    [
        (ANOTHER_KEY, None),
        (mounted(), None),
        (mounted(subPath="HOST"), None),
        (mounted(subPath="PORT"), {"key": "HOST", "path": "PORT"}),
        ({}, None),
    ],
)
def test_pods_that_took_another_key_or_whose_file_the_kubelet_updates_stay(
    takes: JSON, items: JSON | None
) -> None:
    assert put_back(serving(takes, items, since=ago(minutes=30))) == []


def test_pods_that_started_before_the_value_was_written_stay() -> None:
    older = serving(FROM_KEY, since=ago(hours=2))
    assert put_back(older) == []
    assert put_back(older, changed=ago(hours=3)) == ["uid-x7k2p"]
    unknown = applied(config_map("env", {"PORT": "80x"}), PORT="80")
    del unknown["metadata"]["managedFields"]
    made = prepare("patch_config", unknown, older, key="PORT", source="last_applied")
    assert [one.uid for one in made.change.pods] == ["uid-x7k2p"]


def test_pods_from_before_the_key_was_removed_stay() -> None:
    live = applied(config_map("env", {"HOST": "a"}, changed={"HOST": ago(minutes=10)}), PORT="80", HOST="a")
    pods = [serving(FROM_KEY, since=ago(hours=2)), serving(FROM_KEY, since=ago(minutes=5))]
    pods[1]["metadata"] |= {"name": "api-later", "uid": "uid-later"}
    made = prepare("patch_config", live, *pods, key="PORT", source="last_applied")
    assert [one.uid for one in made.change.pods] == ["uid-later"]


def test_the_same_pods_go_between_two_runs_of_a_container() -> None:
    stopped = serving(FROM_KEY, since=ago(minutes=30))
    ended = {"exitCode": 0, "startedAt": ago(minutes=30), "finishedAt": ago(minutes=1)}
    (status,) = stopped["status"]["containerStatuses"]
    status |= {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ended}}
    assert put_back(stopped) == put_back(serving(FROM_KEY, since=ago(minutes=30))) == ["uid-x7k2p"]


@pytest.mark.parametrize("owner", ["Job", "Node"])
def test_what_a_job_runs_and_static_pods_are_not_ended_for_a_value(owner: str) -> None:
    assert put_back(serving(FROM_KEY, owner=owner, since=ago(minutes=30))) == []


def test_what_an_init_container_took_holds_as_long_as_its_pod() -> None:
    made = serving({}, since=ago(minutes=30))
    made["spec"]["initContainers"] = [container("render", **FROM_KEY)]
    ended = {"exitCode": 0, "startedAt": ago(minutes=31), "finishedAt": ago(minutes=30)}
    made["status"]["initContainerStatuses"] = [{"name": "render", "state": {"terminated": ended}}]
    assert put_back(made) == ["uid-x7k2p"]


def test_the_radius_of_a_value_is_that_of_all_who_read_it() -> None:
    readers = [
        deployment(name, template(name, container(**FROM_KEY)), replicas=replicas, ready=replicas)
        for name, replicas in (("api", 5), ("worker", 40))
    ]
    services = [service(name) for name in ("api", "worker")]
    live = applied(config_map("env", {"PORT": "80x"}), PORT="80")
    diagnosis = with_facts(Category.CONFIGMAP_CHANGED, ref("ConfigMap", "env"), key="PORT")
    for target in (ref("ConfigMap", "env"), ref("Deployment", "api")):
        seen = scene(target, live, *readers, *services)
        (found,) = ACTIONS["patch_config"].propose(seen, diagnosis.model_copy(update={"target": target}))
        assert found.blast_radius.replicas == 45
        assert {str(one) for one in found.blast_radius.dependents} == {
            str(ref("Service", name)) for name in ("api", "worker")
        }


# -- whether the value was read ----------------------------------------------------------------------


def test_a_value_is_read_once_no_pod_runs_with_what_it_took_before() -> None:
    since = NOW - timedelta(minutes=5)
    before, after = ago(minutes=30), ago(minutes=4)
    old = serving(FROM_KEY, since=before)
    live = applied(config_map("env", {"PORT": "80x"}), PORT="80")
    change = prepare("patch_config", live, old, key="PORT", source="last_applied").change
    going = serving(FROM_KEY, since=before)
    going["metadata"]["deletionTimestamp"] = ago(minutes=1)
    another = serving(FROM_KEY, since=before)
    another["metadata"]["uid"] = "uid-successor"
    crashing = serving(FROM_KEY)
    crashing["status"]["containerStatuses"] = [waiting("CrashLoopBackOff")]
    for pods in ([], [going], [another], [crashing], [serving(FROM_KEY, since=after)]):
        assert measure_read(change, pods, since=since, now=NOW).phase is Phase.SUCCESSFUL
    found = measure_read(change, [old], since=since, now=NOW)
    assert found.phase is Phase.INCONCLUSIVE
    assert "1 pod started before the change, so with the old value: restart api-" in found.detail
