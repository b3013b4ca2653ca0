"""The documents that policies see and answer are written down, and only ever grow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings

from cortexops.adapters.policy_bundle import sample_question
from cortexops.adapters.policy_schema import DECISION_FILE, INPUT_FILE, as_text, fields, schemas
from cortexops.domain.policy import PolicyInput
from tests.policies.support import question
from tests.policies.test_pack import questions

ROOT = Path(__file__).resolve().parents[2]
CHECKED_IN = ROOT / "docs/schema"
FIRST = json.loads(Path(__file__).with_name("v1_fields.json").read_text("utf-8"))
"""Every field of version 1 with its type. A field may be added here, never removed or changed."""
DOCUMENT = (ROOT / "docs/policies.md").read_text("utf-8")


@pytest.mark.parametrize("name", [INPUT_FILE, DECISION_FILE])
def test_the_schema_that_is_checked_in_is_that_of_the_types(name: str) -> None:
    hint = "write it anew: python -m cortexops.adapters.policy_schema docs/schema"
    assert (CHECKED_IN / name).read_text("utf-8") == as_text(schemas()[name]), hint


@pytest.mark.parametrize("name", [INPUT_FILE, DECISION_FILE])
def test_no_field_of_version_1_is_gone_or_of_another_type(name: str) -> None:
    now = fields(json.loads((CHECKED_IN / name).read_text("utf-8")))
    changed = {path: (type_, now.get(path)) for path, type_ in FIRST[name].items() if now.get(path) != type_}
    assert changed == {}


@pytest.mark.parametrize("name", [INPUT_FILE, DECISION_FILE])
def test_a_new_field_is_added_to_the_list_that_guards_it(name: str) -> None:
    assert set(fields(schemas()[name])) == set(FIRST[name])


def documented(section: str) -> set[str]:
    """Fields named in the first column of the tables of a section."""
    rows = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_field_is_documented_and_no_other() -> None:
    asked = DOCUMENT.split("## What policy is asked")[1].split("\n## ")[0]
    answered = DOCUMENT.split("## What policy answers")[1].split("\n## ")[0]
    leaves = {
        path
        for path in FIRST[INPUT_FILE]
        if not any(other.startswith((f"{path}.", f"{path}[].")) for other in FIRST[INPUT_FILE])
    }
    assert documented(asked) == leaves
    assert documented(answered) == set(FIRST[DECISION_FILE])


def test_an_older_question_is_read_as_one_of_today() -> None:
    added = ("autonomy", "history", "stops", "freezes", "proposed_by")
    old = {key: value for key, value in question().document().items() if key not in added}
    old["blast_radius"] = {key: value for key, value in old["blast_radius"].items() if key != "traffic"}
    read = PolicyInput.model_validate(old)
    assert (read.blast_radius.traffic, read.proposed_by.kind) == (None, "analyzer")
    assert (read.autonomy.level, read.stops) == ("approve", ())


@settings(max_examples=50)
@given(questions())
def test_every_question_fits_the_schema(asked: PolicyInput) -> None:
    _validator().validate(asked.document())


def test_the_sample_fits_the_schema_and_a_misspelt_field_does_not() -> None:
    _validator().validate(sample_question())
    with pytest.raises(jsonschema.ValidationError):
        _validator().validate({**sample_question(), "riks": "low"})


def _validator() -> Any:
    return jsonschema.Draft202012Validator(schemas()[INPUT_FILE])
