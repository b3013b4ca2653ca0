"""Changes: what a patch does, what it refuses, and that undo gives everybody's fields back to them."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cortexops.domain.change import (
    OPERATION_ANNOTATION,
    Change,
    DiffLine,
    FieldEdit,
    Preview,
    Undo,
    UndoPlan,
    Verb,
    as_written,
    carries,
    diff,
    edit,
    expectation,
    json_patch,
    lookup,
    pointer,
    same,
    undo,
)
from cortexops.domain.resource import JSON, ResourceRef
from sandbox.cluster.patches import KubernetesPatch

API = ResourceRef(cluster="test", kind="Deployment", namespace="shop", name="api")
keys = st.sampled_from(["a", "b", "c/d", "e~f", "~1", "0", "x y", "é"])
leaves = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "s", "512Mi"])
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
specs = st.dictionaries(keys, values, max_size=4)
some_annotations = st.none() | st.dictionaries(st.sampled_from(["team", "note"]), st.text("ab", max_size=2))


@st.composite
def live_objects(draw: st.DrawFn) -> JSON:
    metadata: JSON = {
        "name": "api",
        "uid": "u1",
        "generation": draw(st.integers(1, 3)),
        "resourceVersion": "7",
    }
    notes = draw(some_annotations)
    if notes is not None:
        metadata["annotations"] = notes
    return {"metadata": metadata, "spec": draw(specs)}


def _paths(value: Any, path: str = "") -> list[str]:
    """Pointers of every member of a map that is reached through maps only."""
    if not isinstance(value, dict):
        return []
    return [p for key in value for p in (path + pointer(key), *_paths(value[key], path + pointer(key)))]


def _maps(value: Any, path: str = "") -> list[str]:
    return [path, *(p for p in _paths(value, path) if isinstance(lookup_in(value, path, p), dict))]


def lookup_in(value: Any, base: str, path: str) -> Any:
    return lookup(value, path[len(base) :])[1]


@st.composite
def edits_of(draw: st.DrawFn, live: JSON, at_most: int = 3) -> list[FieldEdit]:
    """Edits of fields none of which lies within another: present ones, absent ones, absent with absent parents."""
    found: list[FieldEdit] = []
    for _ in range(draw(st.integers(1, at_most))):
        base = "/spec" + draw(st.sampled_from(_maps(live["spec"])))
        path = base + "".join(pointer(draw(keys)) for _ in range(draw(st.integers(1, 2))))
        if any(
            path.startswith(f.path + "/") or f.path.startswith(path + "/") or path == f.path for f in found
        ):
            continue
        parents = [path[:i] for i, c in enumerate(path) if c == "/" and i > 0]
        if any(lookup(live, p)[0] and not isinstance(lookup(live, p)[1], dict) for p in parents):
            continue
        remove = draw(st.booleans()) and lookup(live, path)[0]
        found.append(edit(live, path, draw(values), remove=remove))
    return found


def change_of(live: JSON, edits: list[FieldEdit], **more: Any) -> Change:
    metadata = live["metadata"]
    base: JSON = {
        "verb": Verb.PATCH,
        "target": API,
        "uid": metadata["uid"],
        "generation": metadata.get("generation"),
        "edits": tuple(edits),
        "operation_id": "op-1",
    }
    return Change(**{**base, **more})


def sent(change: Change, live: JSON) -> JSON:
    result: JSON = KubernetesPatch(json_patch(change, live)).apply(copy.deepcopy(live))
    return result


def written(live: JSON, edits: list[FieldEdit]) -> tuple[Change, JSON]:
    change = change_of(live, edits)
    after = sent(change, live)
    after["metadata"]["generation"] = live["metadata"]["generation"] + 1
    return as_written(change, after), after


def without_empty_maps(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: without_empty_maps(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner != {}}
    return [without_empty_maps(inner) for inner in value] if isinstance(value, list) else value


@given(st.data())
def test_a_patch_makes_the_intended_object_and_marks_it(data: st.DataObject) -> None:
    live = data.draw(live_objects())
    edits = data.draw(edits_of(live))
    before = copy.deepcopy(live)
    change = change_of(live, edits)
    after = sent(change, live)
    assert live == before
    assert carries(after, "op-1")
    for field in edits:
        there, value = lookup(after, field.path)
        assert there == field.after_present
        assert not there or same(value, field.after)
    touched = {f.path for f in edits} | {"/metadata/annotations/cortexops.io~1operation"}
    for path in _paths(live):
        if not any(path == t or path.startswith(t + "/") or t.startswith(path + "/") for t in touched):
            assert same(lookup(after, path)[1], lookup(live, path)[1]), path


@given(st.data())
def test_undo_restores_what_was_there(data: st.DataObject) -> None:
    live = data.draw(live_objects())
    change, after = written(live, data.draw(edits_of(live)))
    plan = undo(change, after, operation="op-1.undo")
    if plan.verdict is Undo.ALREADY:  # the edits changed nothing
        assert without_empty_maps(after["spec"]) == without_empty_maps(live["spec"])
        return
    assert plan.verdict is Undo.POSSIBLE and plan.change is not None
    back = sent(plan.change, after)
    assert same(without_empty_maps(back["spec"]), without_empty_maps(live["spec"]))
    assert carries(back, "op-1.undo")
    assert undo(change, back, operation="op-1.undo").verdict is Undo.ALREADY or any(
        same(f.before, f.after) and f.before_present == f.after_present for f in change.edits
    )


@given(st.data())
def test_undo_never_tramples_on_others(data: st.DataObject) -> None:
    live = data.draw(live_objects())
    change, after = written(live, data.draw(edits_of(live)))
    others = copy.deepcopy(after)
    theirs: list[str] = []
    for field in data.draw(edits_of(after, at_most=2)):
        others = sent(change_of(others, [field], operation_id=""), others)
        theirs.append(field.path)
    plan = undo(change, others, operation="undo")
    ours = {f.path for f in change.edits}
    for field in change.edits:
        now = lookup(others, field.path)
        is_ours = now[0] == field.after_present and same(now[1], field.after)
        was_there = now[0] == field.before_present and same(now[1], field.before)
        if not is_ours and not was_there:
            assert plan.verdict is Undo.FOREIGN
            assert field.path in {f.path for f in plan.foreign}
    if plan.verdict is Undo.FOREIGN:
        assert plan.change is None
        return
    if plan.change is None:
        return
    back = sent(plan.change, others)
    for path in theirs:
        if not any(path == o or path.startswith(o + "/") or o.startswith(path + "/") for o in ours):
            assert same(lookup(back, path)[1], lookup(others, path)[1]), path
    for field in change.edits:
        present, value = lookup(back, field.path)
        assert present == field.before_present
        assert not present or same(value, field.before)


@pytest.mark.parametrize("now", [None, "text", [], ["x"]])
def test_undo_stops_where_the_map_around_a_removed_field_is_no_map_any_more(now: Any) -> None:
    live: JSON = {"metadata": {"uid": "u1", "generation": 1, "resourceVersion": "7"}, "spec": {"a": {"b": 1}}}
    change, after = written(live, [edit(live, "/spec/a/b", None, remove=True)])
    after["spec"]["a"] = now
    plan = undo(change, after, operation="undo")
    assert plan.verdict is Undo.FOREIGN
    assert [f.path for f in plan.foreign] == ["/spec/a/b"]


@given(st.data())
def test_a_patch_of_an_object_that_changed_there_fails(data: st.DataObject) -> None:
    live = data.draw(live_objects())
    change = change_of(live, data.draw(edits_of(live)), generation=None)
    assume(change.edits)
    field = data.draw(st.sampled_from(change.edits))
    meanwhile = copy.deepcopy(live)
    patch = json_patch(change, live)
    if field.before_present:
        removal = [{"op": "remove", "path": field.path}]
        meanwhile = jsonpatch.apply_patch(meanwhile, removal)
    else:
        foreign = change_of(live, [edit(live, field.path, "theirs")], generation=None, operation_id="")
        meanwhile = sent(foreign, live)
    with pytest.raises((jsonpatch.JsonPatchException, jsonpatch.JsonPointerException)):
        KubernetesPatch(patch).apply(meanwhile)


@pytest.mark.parametrize("part", ["uid", "generation"])
def test_a_patch_of_another_object_or_generation_fails(part: str) -> None:
    live: JSON = {
        "metadata": {"uid": "u1", "generation": 4, "annotations": {"a": "b"}},
        "spec": {"replicas": 1},
    }
    patch = json_patch(change_of(live, [edit(live, "/spec/replicas", 2)]), live)
    other = copy.deepcopy(live)
    other["metadata"][part] = "u2" if part == "uid" else 5
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        KubernetesPatch(patch).apply(other)


def test_annotations_that_came_meanwhile_are_not_wiped_out() -> None:
    live: JSON = {"metadata": {"uid": "u1", "generation": 4, "resourceVersion": "7"}, "spec": {"replicas": 1}}
    patch = json_patch(change_of(live, [edit(live, "/spec/replicas", 2)]), live)
    meanwhile = copy.deepcopy(live)
    meanwhile["metadata"] |= {"annotations": {"owner": "somebody"}, "resourceVersion": "8"}
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        KubernetesPatch(patch).apply(meanwhile)


@pytest.mark.parametrize("field", ["/spec/unschedulable", "/metadata/labels/excluded"])
def test_a_heartbeat_of_a_node_without_annotations_does_not_make_it_another(field: str) -> None:
    live: JSON = {
        "metadata": {"uid": "u1", "resourceVersion": "7"},
        "spec": {"taints": []},
        "status": {"conditions": [{"type": "Ready", "lastHeartbeatTime": "03:00"}]},
    }
    change = change_of(live, [edit(live, field, "yes")])
    patch = json_patch(change, live)
    meanwhile = copy.deepcopy(live)
    meanwhile["metadata"]["resourceVersion"] = "8"
    meanwhile["spec"]["taints"] = [{"key": "node.kubernetes.io/not-ready"}]
    meanwhile["status"]["conditions"][0]["lastHeartbeatTime"] = "03:01"
    after = KubernetesPatch(patch).apply(meanwhile)
    assert lookup(after, field) == (True, "yes") and carries(after, "op-1")
    taken = KubernetesPatch([{"op": "add", "path": field, "value": "theirs"}])
    theirs = taken.apply({**meanwhile, "metadata": {**meanwhile["metadata"], "labels": {}}})
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        KubernetesPatch(patch).apply(theirs)


def test_a_list_that_others_lengthened_is_not_lengthened_by_us() -> None:
    live: JSON = {"metadata": {"uid": "u1", "annotations": {}}, "spec": {"args": ["a"]}}
    patch = json_patch(change_of(live, [edit(live, "/spec/args/1", "ours")]), live)
    assert KubernetesPatch(patch).apply(live)["spec"]["args"] == ["a", "ours"]
    meanwhile: JSON = {**live, "spec": {"args": ["a", "theirs"]}}
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        KubernetesPatch(patch).apply(meanwhile)


def test_what_has_no_way_back_is_not_undone_and_says_so_while_it_is_in_place() -> None:
    live: JSON = {"metadata": {"uid": "u1", "annotations": {}}, "spec": {"size": "1Gi"}}
    change = change_of(live, [edit(live, "/spec/size", "2Gi")], lasting="no volume shrinks")
    after = sent(change, live)
    assert undo(change, after, operation="undo") == UndoPlan(verdict=Undo.LASTING)
    assert undo(change, live, operation="undo").verdict is Undo.ALREADY
    after["spec"]["size"] = "3Gi"
    assert undo(change, after, operation="undo").verdict is Undo.FOREIGN


def test_an_expectation_that_does_not_hold_stops_the_patch_and_the_undo() -> None:
    live: JSON = {
        "metadata": {"uid": "u1", "annotations": {}},
        "spec": {"containers": [{"name": "api", "limit": 1}, {"name": "proxy", "limit": 1}]},
    }
    change = change_of(
        live,
        [edit(live, "/spec/containers/0/limit", 2)],
        expect=(expectation(live, "/spec/containers/0/name"),),
    )
    moved = copy.deepcopy(live)
    moved["spec"]["containers"].reverse()
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        KubernetesPatch(json_patch(change, live)).apply(moved)
    after = sent(change, live)
    after["spec"]["containers"][0]["name"] = "renamed"
    plan = undo(change, after, operation="undo")
    assert plan.verdict is Undo.FOREIGN
    assert [(f.path, f.before, f.after) for f in plan.foreign] == [
        ("/spec/containers/0/name", "renamed", "api")
    ]


def test_absent_and_null_are_two_things() -> None:
    live: JSON = {"metadata": {"uid": "u1", "generation": 1, "annotations": {}}, "spec": {"here": None}}
    null, absent = edit(live, "/spec/here", 1), edit(live, "/spec/gone", 1)
    assert (null.before_present, absent.before_present) == (True, False)
    change, after = written(live, [null, absent])
    plan = undo(change, after, operation="undo")
    assert plan.change is not None
    assert sent(plan.change, after)["spec"] == {"here": None}
    nulled = copy.deepcopy(after)
    nulled["spec"]["gone"] = None
    assert undo(change, nulled, operation="undo").verdict is Undo.FOREIGN


def test_true_is_not_one() -> None:
    assert not same({"a": [True]}, {"a": [1]})
    assert not same(0, False)
    assert same(1, 1.0)
    assert diff({"a": 1}, {"a": True}) == [DiffLine(path="/a", before="1", after="true")]


def test_an_object_that_is_gone_or_another_is_left_alone() -> None:
    live: JSON = {"metadata": {"uid": "u1", "generation": 1, "annotations": {}}, "spec": {"replicas": 1}}
    change, after = written(live, [edit(live, "/spec/replicas", 2)])
    assert undo(change, None, operation="undo").verdict is Undo.GONE
    after["metadata"]["uid"] = "u2"
    assert undo(change, after, operation="undo").verdict is Undo.GONE


def _leaves(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for key in value for k, v in _leaves(value[key], path + pointer(key)).items()}
    if isinstance(value, list) and value:
        return {k: v for i, item in enumerate(value) for k, v in _leaves(item, f"{path}/{i}").items()}
    return {path: value}


@given(specs, specs)
def test_the_diff_shows_each_leaf_that_changed_and_no_other(one: JSON, other: JSON) -> None:
    lines = diff(one, other)
    before, after = _leaves(one), _leaves(other)
    for path in before.keys() | after.keys():
        changed = path not in before or path not in after or not same(before[path], after[path])
        shown = any(path == line.path or path.startswith(line.path + "/") for line in lines)
        within = any(line.path.startswith(path + "/") for line in lines)
        if changed:
            assert shown or within, path
    for line in lines:
        assert line.before != line.after
        there_before, was = lookup(one, line.path)
        there_after, became = lookup(other, line.path)
        assert (there_before, there_after) != (False, False)
        assert (line.before == "") == (not there_before)
        assert (line.after == "") == (not there_after)
        assert not (there_before and there_after and same(was, became))
    assert [line.path for line in lines] == [line.path for line in diff(one, other)]
    assert (lines == []) == same(one, other)


def test_the_diff_shows_no_bookkeeping() -> None:
    before: JSON = {
        "metadata": {"uid": "u", "generation": 1, "resourceVersion": "1", "managedFields": []},
        "spec": {"replicas": 1},
        "status": {"replicas": 1},
    }
    after = copy.deepcopy(before)
    after["metadata"] |= {
        "generation": 2,
        "resourceVersion": "2",
        "managedFields": [{}],
        "annotations": {OPERATION_ANNOTATION: "op"},
    }
    after["spec"]["replicas"] = 2
    after["status"]["replicas"] = 2
    assert diff(before, after) == [DiffLine(path="/spec/replicas", before="1", after="2")]
    assert diff(after, before) == [DiffLine(path="/spec/replicas", before="2", after="1")]


def test_an_approval_is_bound_to_diff_generation_object_and_policy() -> None:
    base = Preview(diff=(DiffLine(path="/spec/replicas", before="1", after="2"),), generation=4, uid="u1")
    others = [
        base.model_copy(update={"generation": 5}),
        base.model_copy(update={"uid": "u2"}),
        base.model_copy(update={"diff": ()}),
    ]
    digests = {
        base.approval_digest("r1"),
        base.approval_digest("r2"),
        *(o.approval_digest("r1") for o in others),
    }
    assert len(digests) == 5


@given(st.lists(st.text(max_size=5), min_size=1, max_size=4))
def test_any_key_can_be_pointed_at(parts: list[str]) -> None:
    document: Any = "found"
    for part in reversed(parts):
        document = {part: document}
    assert lookup(document, pointer(*parts)) == (True, "found")


@pytest.mark.parametrize("place", ["-1", "01", "²", "٣", "2", "x", ""])
def test_only_plain_places_in_a_list_are_found(place: str) -> None:
    assert lookup({"a": [1, 2]}, f"/a/{place}") == (False, None)
