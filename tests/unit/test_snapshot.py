"""What is kept and shown of a change."""

from __future__ import annotations

import json
import shlex
import subprocess

import jsonpatch
import pytest

from cortexops.domain.change import Change, FieldEdit, Verb, diff
from cortexops.domain.manifest import ManifestEdit, Named, Proposal, Step, name_of
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.snapshot import commands_by_hand, foreign_lines, masked_change, shown, snapshot_of
from sandbox.cluster.patches import KubernetesPatch

API = ResourceRef(cluster="test", kind="Deployment", namespace="shop", name="api")


def workload(password: str, *more: JSON) -> JSON:
    env = [{"name": "DB_PASSWORD", "value": password}, {"name": "LEVEL", "value": "info"}, *more]
    container = {"name": "main", "image": "r/api:1", "env": env, "resources": {"limits": {"memory": "1Gi"}}}
    return {
        "metadata": {"uid": "u1", "generation": 3, "resourceVersion": "9"},
        "spec": {"replicas": 2, "template": {"spec": {"containers": [container]}}},
    }


def template_change() -> Change:
    before, after = workload("hunter1")["spec"]["template"], workload("hunter2")["spec"]["template"]
    return Change(
        verb=Verb.PATCH,
        target=API,
        uid="u1",
        edits=(FieldEdit(path="/spec/template", before=before, after=after),),
    )


def test_a_snapshot_holds_sizes_and_images_and_no_environment() -> None:
    taken = snapshot_of(workload("hunter1"))
    assert "hunter1" not in json.dumps(taken)
    assert taken["replicas"] == 2
    assert taken["containers"] == [
        {"name": "main", "image": "r/api:1", "resources": {"limits": {"memory": "1Gi"}}}
    ]


def test_a_masked_diff_has_the_same_lines_without_the_secrets() -> None:
    for other in (workload("hunter2"), workload("hunter2", {"name": "X", "value": "1"})):
        bare, masked = diff(workload("hunter1"), other), shown(workload("hunter1"), other)
        assert [line.path for line in masked] == [line.path for line in bare]
        text = repr(masked)
        assert "hunter1" not in text and "hunter2" not in text and "[redacted:by_name]" in text


def test_plain_values_are_shown_as_they_are() -> None:
    one, other = workload("x"), workload("x")
    other["spec"]["replicas"] = 3
    assert list(shown(one, other)) == diff(one, other)


def test_a_masked_change_holds_no_secret() -> None:
    assert "hunter" not in masked_change(template_change()).model_dump_json()


PASSWORD: tuple[Step, ...] = (
    "spec",
    "containers",
    Named(name="main"),
    "env",
    Named(name="DB_PASSWORD"),
    "value",
)


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        (PASSWORD, "DB_PASSWORD"),
        (("data", "DB_PASSWORD"), "DB_PASSWORD"),
        (("data", "value"), "value"),
        (("spec", "containers", Named(name="main"), "image"), "image"),
        (("tokens", Named(name="API_TOKEN")), "API_TOKEN"),
        (("value",), "value"),
        ((), ""),
    ],
)
def test_a_value_goes_by_its_key_or_by_its_variable(steps: tuple[Step, ...], name: str) -> None:
    assert name_of(steps) == name


def test_a_masked_proposal_holds_no_secret_and_keeps_the_rest() -> None:
    edits = (
        ManifestEdit(steps=PASSWORD, before="hunter1", after="hunter2"),
        ManifestEdit(steps=("data", "DB_PASSWORD"), before="hunter1", remove=True),
        ManifestEdit(steps=("data", "LEVEL"), before="info", after="postgres://api:hunter2@db/shop"),
        ManifestEdit(steps=("spec", "replicas"), before=1, after=2),
    )
    proposal = Proposal(target=API, app="shop", edits=edits)
    change = Change(verb=Verb.PROPOSE, target=API, uid="u1", body=proposal.model_dump(mode="json"))
    masked = masked_change(change)
    assert "hunter" not in masked.model_dump_json()
    kept = Proposal.model_validate(masked.body)
    assert [str(edit) for edit in kept.edits] == [str(edit) for edit in edits]
    assert kept.edits[3] == edits[3] and kept.target == API
    assert Proposal.model_validate(change.body) == proposal, "the change itself is not touched"


def test_commands_by_hand_put_the_earlier_values_back() -> None:
    change = Change(
        verb=Verb.PATCH,
        target=API.model_copy(update={"name": "a'pi"}),
        uid="u1",
        edits=(
            FieldEdit(path="/spec/replicas", before=1, after=2),
            FieldEdit(path="/spec/paused", before_present=False, after=True),
        ),
    )
    look, words, patch = commands_by_hand(change)
    assert shlex.split(look)[:5] == ["kubectl", "-n", "shop", "get", "deployment"]
    assert words.startswith("# ") and "somebody changed the object since" in words
    typed = shlex.split(patch)
    assert typed[5] == "a'pi"
    assert json.loads(typed[-1]) == [
        {"op": "test", "path": "/spec/replicas", "value": 2},
        {"op": "test", "path": "/spec/paused", "value": True},
        {"op": "remove", "path": "/spec/paused"},
        {"op": "add", "path": "/spec/replicas", "value": 1},
    ]


def boxes(*names: str, **limits: str) -> JSON:
    containers = [
        {"name": name, "resources": {"limits": {"memory": limits.get(name, "1Gi")}}} for name in names
    ]
    return {"metadata": {"uid": "u1"}, "spec": {"template": {"spec": {"containers": containers}}}}


def patch_of(commands: list[str]) -> list[JSON]:
    (found,) = [command for command in commands if " patch " in command]
    patch: list[JSON] = json.loads(shlex.split(found)[-1])
    return patch


BOX = "/spec/template/spec/containers/0"
MORE_MEMORY = Change(
    verb=Verb.PATCH,
    target=API,
    uid="u1",
    edits=(FieldEdit(path=f"{BOX}/resources/limits/memory", before="128Mi", after="256Mi"),),
    expect=(FieldEdit(path=f"{BOX}/name", before="main", after="main"),),
)


def test_a_pasted_patch_restores_what_nobody_has_changed_since() -> None:
    patch = patch_of(commands_by_hand(MORE_MEMORY))
    assert jsonpatch.apply_patch(boxes("main", "web", main="256Mi"), patch) == boxes(
        "main", "web", main="128Mi"
    )


@pytest.mark.parametrize(
    "now",
    [
        boxes("new", "main", main="256Mi"),
        boxes("new", "main", new="256Mi", main="256Mi"),
        boxes("main", main="300Mi"),
    ],
    ids=["another in its place", "another in its place that holds our value", "somebody's value"],
)
def test_a_pasted_patch_fails_where_somebody_has_changed_the_object_since(now: JSON) -> None:
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(now, patch_of(commands_by_hand(MORE_MEMORY)))


def test_a_field_that_we_removed_is_put_back_only_where_nobody_has_set_it_since() -> None:
    field = FieldEdit(path="/spec/paused", before=True, after_present=False)
    patch = patch_of(commands_by_hand(MORE_MEMORY.model_copy(update={"edits": (field,), "expect": ()})))
    assert KubernetesPatch(patch).apply({"spec": {}}) == {"spec": {"paused": True}}
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        KubernetesPatch(patch).apply({"spec": {"paused": False}})


def test_an_item_that_we_took_out_of_a_list_is_put_back() -> None:
    field = FieldEdit(path="/spec/taints/1", before={"key": "b"}, after_present=False)
    patch = patch_of(commands_by_hand(MORE_MEMORY.model_copy(update={"edits": (field,), "expect": ()})))
    live: JSON = {"spec": {"taints": [{"key": "a"}]}}
    assert KubernetesPatch(patch).apply(live) == {"spec": {"taints": [{"key": "a"}, {"key": "b"}]}}


def test_what_was_neither_there_before_nor_after_is_no_part_of_the_patch() -> None:
    nothing = FieldEdit(path="/spec/new", before_present=False, after_present=False)
    change = MORE_MEMORY.model_copy(update={"edits": (*MORE_MEMORY.edits, nothing)})
    assert patch_of(commands_by_hand(change)) == patch_of(commands_by_hand(MORE_MEMORY))
    only = MORE_MEMORY.model_copy(update={"edits": (nothing,)})
    assert [command for command in commands_by_hand(only) if " patch " in command] == []


def test_a_test_of_a_patch_by_hand_never_spells_out_a_secret() -> None:
    change = Change(
        verb=Verb.PATCH,
        target=API.model_copy(update={"kind": "ConfigMap"}),
        uid="u1",
        edits=(
            FieldEdit(path="/data/DB_PASSWORD", before="", after="hunter2"),
            FieldEdit(path="/data/url", before="none", after="postgres://api:hunter2@db/shop"),
            FieldEdit(path="/data/level", before="info", after="debug"),
        ),
        expect=(FieldEdit(path="/data/API_TOKEN", before="hunter3", after="hunter3"),),
    )
    commands = commands_by_hand(change)
    assert "hunter" not in "".join(commands)
    assert [step["path"] for step in patch_of(commands) if step["op"] == "test"] == ["/data/level"]
    assert len([step for step in patch_of(commands) if step["op"] == "add"]) == 3


@pytest.mark.parametrize(
    "value", ["it's", 'a "b"', "$HOME `id` $(id)", "two\nlines\n", "back\\slash !x *", "é€"]
)
def test_a_patch_by_hand_reaches_kubectl_as_it_is_meant(value: str) -> None:
    edits = (FieldEdit(path="/data/k", before=value, after=f"{value}2"),)
    change = Change(
        verb=Verb.PATCH, target=API.model_copy(update={"kind": "ConfigMap"}), uid="u1", edits=edits
    )
    script = "kubectl() { printf '%s\\0' \"$@\"; }\n" + "\n".join(commands_by_hand(change))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    patch = json.loads(done.stdout.split("\0")[-2])
    assert jsonpatch.apply_patch({"data": {"k": f"{value}2"}}, patch) == {"data": {"k": value}}


def test_commands_by_hand_never_spell_out_a_secret() -> None:
    commands = commands_by_hand(template_change())
    assert "hunter" not in "".join(commands)
    assert commands[-1] == "kubectl -n shop rollout undo deployment/api"


def test_foreign_fields_show_what_we_wrote_and_what_is_there() -> None:
    fields = (
        FieldEdit(path="/spec/replicas", before=5, after=2),
        FieldEdit(path="/spec/paused", before_present=False, after=True),
        FieldEdit(path="/data/password", before="theirs", after="ours"),
    )
    lines = [(line.path, line.before, line.after) for line in foreign_lines(fields)]
    mask = '"[redacted:by_name]"'
    assert lines == [
        ("/spec/replicas", "2", "5"),
        ("/spec/paused", "true", ""),
        ("/data/password", mask, mask),
    ]
