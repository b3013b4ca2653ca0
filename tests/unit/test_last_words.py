"""Which line is quoted as what a program complained of, and how."""

from __future__ import annotations

import json

import pytest

from cortexops.domain.kubernetes import complaints
from cortexops.domain.kubernetes.last_words import quoted, telling
from cortexops.domain.kubernetes.mentions import mention
from cortexops.domain.kubernetes.references import ConfigUse


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([], ""),
        (["Error: unknown flag: --x"], "Error: unknown flag: --x"),
        (
            ["NoMethodError (undefined method `price' for nil):", "app/seats.rb:21:in `show' fatal"],
            "NoMethodError (undefined method `price' for nil):",
        ),
        (
            ["Exception: outer", "Caused by: java.lang.IllegalStateException: inner", "Error while closing"],
            "Caused by: java.lang.IllegalStateException: inner",
        ),
        (["Traceback (most recent call last):"], "Traceback (most recent call last):"),
    ],
)
def test_the_line_that_tells_most_is_chosen_over_frames_and_headings(lines: list[str], wanted: str) -> None:
    assert telling(lines) == wanted


def test_structured_lines_are_quoted_by_message_and_error() -> None:
    assert quoted(json.dumps({"level": "fatal", "msg": "discovery failed", "error": "taken"})) == (
        "discovery failed: taken"
    )
    assert quoted(json.dumps({"msg": "no", "err": {"type": "FetchError", "message": "502"}})) == "no: 502"
    trace = "A: outer\n\tat x.Y\nCaused by: B: inner"
    assert quoted(json.dumps({"message": "run failed", "stack_trace": trace})) == "run failed: B: inner"
    assert quoted(json.dumps({"msg": "ending", "attr": {"error": "locked"}})) == "ending: locked"
    assert quoted('time=x level=ERROR msg="it \\"broke\\"" err=EOF') == 'it "broke": EOF'


def test_what_is_no_object_is_quoted_as_it_stands() -> None:
    for line in ("{", '{"a": 1}', "[1]", '{"msg": ' + "[" * 5000 + "}", "plain"):
        assert quoted(line) == line[:160]


def test_a_dying_program_speaks_of_itself_unless_it_speaks_of_others() -> None:
    assert complaints.of_itself(["# Bad file format reading the append only file"])
    assert not complaints.of_itself(["cannot start", "connect: connection refused"])


def test_a_variable_is_known_by_the_property_that_a_framework_makes_of_it() -> None:
    obj = {"kind": "ConfigMap", "data": {"Fx__RefreshSeconds": "3O"}}
    uses = [ConfigUse("ConfigMap", "fx", container="fx")]
    found = mention(obj, uses, "Failed to convert configuration value at 'Fx:RefreshSeconds'")
    assert found is not None
    assert found.key == "Fx__RefreshSeconds"
    assert mention(obj, uses, "fxrefreshseconds") is None
