"""Values and volumes: what goes back to an earlier value, what grows, and within which bounds."""

from __future__ import annotations

import copy
import json

import pytest

from cortexops.domain.action import Infeasible, Risk
from cortexops.domain.change import pointer
from cortexops.domain.diagnosis import Category
from cortexops.domain.errors import InvalidInput, Rejected
from cortexops.domain.resource import JSON
from tests.investigation.objects import (
    ago,
    config_map,
    container,
    deployment,
    pod,
    running,
    template,
)
from tests.unit.test_actions import quota
from tests.unit.test_catalogue import APPLIED, on, prepare
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
    live = applied(config_map("env", {"PORT": "80x"}), PORT="80")
    made = prepare("patch_config", live, *cases.values(), alone, key="PORT", source="last_applied")
    assert [p.name for p in made.change.pods] == ["api-lately", "api-waiting"]
