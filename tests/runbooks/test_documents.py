"""Runbook files: strict, and every complaint says where and how to mend it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import yaml

from activities.runbooks.building import shelf_of, source_of
from cortexops.adapters.bounded_yaml import read_yaml
from cortexops.adapters.runbooks import load_shelf, read_file, read_folder
from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import KINDS
from cortexops.domain.runbook import Origin
from cortexops.domain.runbook_document import read_runbook
from cortexops.resources import runbooks_path
from cortexops.settings import RunbookSettings
from tests.runbooks.support import SPECS, action, check, document, made, note, problems, raw, replicas


def test_every_shipped_runbook_is_right_and_ends_with_words_for_a_person() -> None:
    shelf = shelf_of(RunbookSettings())
    assert not shelf.problems and len(shelf.runbooks) >= 8
    assert all(runbook.origin is Origin.SHIPPED for runbook in shelf.runbooks)
    assert all(runbook.steps[-1].kind == "note" for runbook in shelf.runbooks)
    alerts = [alert for runbook in shelf.runbooks for alert in runbook.match.alerts]
    assert len(alerts) == len(set(alerts))


def test_shipped_runbooks_are_part_of_what_is_installed() -> None:
    assert sorted(f.name for f in runbooks_path().iterdir() if f.suffix == ".yaml") == sorted(
        Path(r.source).name for r in shelf_of(RunbookSettings()).runbooks
    )


@pytest.mark.parametrize(
    ("step", "field", "words"),
    [
        (check(colour="red"), "colour", "remove it"),
        (check(expect={"at_least": "{{ later }}"}), "expect.at_least", "not known"),
        (check(output="x", expect={"equals": "{{ x }}"}), "expect.equals", "this very step"),
        (check(expect={}), "expect", "is empty"),
        (check(expect={"equals": None}), "expect", "null"),
        (check(expect={"at_least": [1]}), "expect.at_least", "must be text"),
        (check(metric={"query": "up"}, object=replicas()), "step", "exactly one"),
        (check(object={"kind": "Secret", "field": "/data/x"}), "object.kind", "does not read"),
        (check(object={"kind": "Gadget"}), "object.kind", "no kind"),
        (check(object={"field": "status"}), "object.field", "pattern"),
        (check(preflight={"nobody": {"exists": True}}), "preflight.nobody", "not known"),
        (check(output="namespace"), "outputs", "another name"),
        (check(supports={"category": "crash"}), "supports", "needs expect"),
        (
            check(supports={"category": "bad_luck"}, expect={"equals": 1}),
            "supports.category",
            "input should be",
        ),
        (check(metric={"query": 'up{a="x} + 1'}), "metric.query", "does not end"),
        (check(metric={"query": "up{a='{{ name }}'}"}), "metric.query", "double quotes"),
        (check(metric={"query": "up > {{ name }}"}), "metric.query", "double quotes"),
        (check(metric={"query": 'up{a="{{ name | upper }}"}'}), "metric.query", "only {{ name }}"),
        (action(name="run_shell"), "action", "is no action"),
        (action(name="scale_workload", params={"replica": 2}), "params.replica", "it takes replicas"),
        (action(name="cordon_node", target={"kind": "Deployment"}), "target.kind", "acts on Node"),
        (note(text="{% for x in y %}"), "text", "only {{ name }}"),
        (note(text="{{ name.__class__ }}"), "text", "not known"),
        (note(kind="shell"), "step", "kind must be one of"),
        ({**check(), "kind": "wait-for", "seconds": 600, "expect": {"equals": 1}}, "seconds", "60"),
        ({**check(), "kind": "wait-for"}, "step", "needs expect"),
        (
            {**check(events={"reasons": ["X"]}, expect={"at_most": 0}), "kind": "wait-for"},
            "step",
            "re-read",
        ),
    ],
)
def test_a_wrong_step_is_named_with_its_field_and_the_way_out(step, field, words) -> None:
    found = problems(step)
    assert [p for p in found if p.step == step["id"] and p.field == field and words in p.message], found


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"schema": "other/v1"}, "schema", "cortexops.runbook/v1"),
        ({"match": {}}, "match", "every incident"),
        ({"match": {"alert": ["A"]}}, "match.alert", "remove it"),
        ({"version": 1.0}, "version", "in quotes"),
        ({"id": "Has Spaces"}, "id", "pattern"),
        ({"steps": []}, "steps", "at least 1"),
        ({"steps": [note(f"n{n}") for n in range(21)]}, "steps", "at most 20"),
        ({"owner": "me"}, "owner", "remove it"),
        ({"origin": "shipped"}, "origin", "leave it out"),
    ],
)
def test_a_wrong_head_is_named(change, field, words) -> None:
    found = read_runbook(document() | change, SPECS, source="f")[1]
    assert [p for p in found if p.field == field and words in p.message], found


@pytest.mark.parametrize("content", [None, [], "text", 3, {1: 2}])
def test_what_is_no_mapping_is_no_runbook(content) -> None:
    assert read_runbook(content, SPECS, source="f")[1][0].field == "file"


def test_two_steps_of_one_name_are_refused() -> None:
    assert [p.message for p in problems(note("a"), note("a"))] == ["is used by two steps: give each its own"]


def test_outputs_that_need_each_other_are_refused() -> None:
    found = problems(
        check("a", output="x", object=replicas() | {"name": "{{ y }}"}),
        check("b", output="y", object=replicas() | {"name": "{{ x }}"}),
    )
    assert [p.message for p in found] == ["'y' comes from the later step b: move that step before this one"]


def test_an_output_of_an_earlier_step_may_be_used() -> None:
    made(
        check("a", output="want", object=replicas("/spec/replicas")),
        check("b", expect={"equals": "{{ want }}"}),
    )


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(12)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "aliases"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n", "aliases"),
        ("a: {<<: {x: 1}}", "merges"),
        ("a: 1\na: 2\n", "twice"),
        ("on: 1", "must be text"),
        ("[" * 5000, "nested"),
        ("- " * 30 + "x", "nested"),
        ("a: [" + "1," * 6000 + "1]", "more than"),
        ("a: !!python/object/apply:os.system ['true']", "not YAML"),
        ("a: !mine x", "not YAML"),
        ("a: [1", "not YAML"),
        ("---\na: 1\n---\nb: 2\n", "not YAML"),
        ("a: 2024-99-99", "cannot be read"),
        ("a: \x00", "characters"),
        ("x: '" + "y" * 300_000 + "'", "256 KiB"),
    ],
)
def test_yaml_that_is_a_trap_is_refused_in_little_memory(text: str, words: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput) as raised:
            read_yaml(text.encode())
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    assert words in str(raised.value), raised.value


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidInput):
        read_yaml(b"\xff\xfe\x00")


def test_one_bad_file_disables_no_other(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_bytes(raw())
    (tmp_path / "bomb.yaml").write_text(BOMB)
    (tmp_path / "same.yml").write_bytes(raw())
    (tmp_path / "huge.yaml").write_bytes(b"#" * 300_000)
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / ".hidden.yaml").write_text("[")
    (tmp_path / "notes.txt").write_text("[")
    shelf = read_folder(tmp_path, SPECS, origin=Origin.FOLDER)
    assert [runbook.id for runbook in shelf.runbooks] == ["mine"]
    assert {problem.file for problem in shelf.problems} == {
        "bomb.yaml",
        "same.yml",
        "huge.yaml",
        "folder.yaml",
    }


def test_a_folder_that_is_not_there_is_a_problem_and_the_shipped_ones_stay(tmp_path: Path) -> None:
    shelf = load_shelf(tmp_path / "none", runbooks_path(), SPECS)
    assert len(shelf.runbooks) >= 8 and shelf.problems[0].field == "runbooks.path"
    assert read_file(tmp_path / "none.yaml", SPECS)[1][0].field == "file"


def test_a_teams_own_runbook_replaces_the_shipped_one_of_its_id(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(raw(id="kube-pod-crash-looping", title="Ours"))
    shelf = shelf_of(RunbookSettings(path=tmp_path))
    (found,) = [r for r in shelf.runbooks if r.id == "kube-pod-crash-looping"]
    assert found.title == "Ours" and found.origin is Origin.FOLDER
    assert [r.title for r in shelf_of(RunbookSettings(path=tmp_path, shipped=False)).runbooks] == ["Ours"]


def test_settings_that_allow_an_action_that_is_none_are_refused() -> None:
    with pytest.raises(InvalidInput, match="no action"):
        source_of(RunbookSettings(fetched_actions=("rm",)))


def test_kinds_that_hold_secrets_cannot_be_read_whatever_a_runbook_says() -> None:
    assert "Secret" in KINDS and problems(check(count={"kind": "Secret"}))


def test_the_example_in_the_document_is_a_runbook() -> None:
    text = (Path(__file__).parents[2] / "docs/runbooks.md").read_text("utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]
    runbook, wrong = read_runbook(yaml.safe_load(example), SPECS, source="docs")
    assert runbook is not None, wrong
