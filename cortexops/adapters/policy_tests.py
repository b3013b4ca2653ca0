"""Runs a bundle's own tests (`test_*` rules of `*_test.rego`), on regorus and on OPA."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cortexops.adapters.policy_bundle import Bundle, evaluate_once, explain
from cortexops.domain.errors import InvalidInput, PermanentError

_PACKAGE = re.compile(r"^package\s+([A-Za-z_][\w.]*)", re.MULTILINE)
_TEST = re.compile(r"^(test_\w+)", re.MULTILINE)
_SECONDS = 60.0


@dataclass(frozen=True)
class TestResult:
    """`name`: the rule in full. `detail` says why it did not pass."""

    __test__ = False  # not a class of tests, whatever the name looks like

    name: str
    passed: bool
    detail: str = ""


def run_policy_tests(
    bundle: Bundle, engine: Literal["regorus", "opa"] = "regorus", *, opa: Path | None = None
) -> list[TestResult]:
    """Every test rule and its result, sorted by name; no tests, no results.

    `opa` is the OPA executable, needed for that engine. Raises `PermanentError` when the tests cannot be run.
    """
    if not bundle.tests:
        return []
    if engine == "opa":
        if opa is None:
            raise InvalidInput("opa", "give the path of the opa executable")
        return _on_opa(bundle, opa)
    return _on_regorus(bundle)


def _on_regorus(bundle: Bundle) -> list[TestResult]:
    names = sorted(
        f"data.{package[1]}.{rule}"
        for text in bundle.tests.values()
        if (package := _PACKAGE.search(text))
        for rule in set(_TEST.findall(text))
    )
    answers = evaluate_once(bundle.files, bundle.data, names, seconds=_SECONDS)
    return [_result(name, answer) for name, answer in zip(names, answers, strict=True)]


def _result(name: str, answer: dict[str, Any]) -> TestResult:
    if "error" in answer:
        return TestResult(name, passed=False, detail=explain(answer["error"]))
    if answer["value"] is True:
        return TestResult(name, passed=True)
    return TestResult(name, passed=False, detail="undefined" if answer["value"] is None else "not true")


def _on_opa(bundle: Bundle, opa: Path) -> list[TestResult]:
    with tempfile.TemporaryDirectory(prefix="cortexops-policies-") as folder:
        for name, text in bundle.files.items():
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        Path(folder, "data.json").write_text(json.dumps(bundle.data), encoding="utf-8")
        try:
            done = subprocess.run(
                [str(opa), "test", "--format", "json", "."],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=False,
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            raise PermanentError(f"policies: opa test could not be run: {error}") from None
    try:
        rows = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise PermanentError(f"policies: opa test: {(done.stderr or done.stdout).strip()}") from None
    if not isinstance(rows, list):
        raise PermanentError(f"policies: opa test: {done.stdout.strip()}")
    return sorted((_opa_result(row) for row in rows), key=lambda result: result.name)


def _opa_result(row: dict[str, Any]) -> TestResult:
    passed = not (row.get("fail") or row.get("error") or row.get("skip"))
    place = row.get("location", {})
    detail = (
        "" if passed else f"{place.get('file', '')}:{place.get('row', '')}: {row.get('error') or 'failed'}"
    )
    return TestResult(f"{row['package']}.{row['name']}", passed, detail)
