"""What is kept and shown of a change."""

from __future__ import annotations

import json
import shlex

from cortexops.domain.change import Change, FieldEdit, Verb, diff
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.snapshot import commands_by_hand, foreign_lines, masked_change, shown, snapshot_of

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
    look, patch = commands_by_hand(change)
    assert shlex.split(look)[:5] == ["kubectl", "-n", "shop", "get", "deployment"]
    words = shlex.split(patch)
    assert words[5] == "a'pi"
    assert json.loads(words[-1]) == [
        {"op": "remove", "path": "/spec/paused"},
        {"op": "add", "path": "/spec/replicas", "value": 1},
    ]


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
