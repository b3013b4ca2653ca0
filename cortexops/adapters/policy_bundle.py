"""A policy bundle: the Rego modules and the data that decide, read from a folder and checked before use."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cortexops.domain.action import Action, BlastRadius, Risk
from cortexops.domain.errors import PermanentError
from cortexops.domain.policy import QUERY, PolicyInput
from cortexops.domain.resource import ResourceRef

CHECK_SECONDS = 10.0
"""A bundle that has not answered the sample question by then is refused."""

_CHILD = Path(__file__).with_name("policy_child.py")
_NO_SUCH_RULE = "not a valid rule path"  # how the engine words it
_TEST_SUFFIX = "_test.rego"
_PLACE = re.compile(r"-->\s*(?P<file>.+):(?P<line>\d+):(?P<column>\d+)")
_COMPLAINT = re.compile(r"error:\s*(?P<text>.+)")


@dataclass(frozen=True)
class Bundle:
    """`files`: path below the folder → Rego text, the tests among them. `revision`: hash of what decides."""

    files: dict[str, str]
    data: dict[str, Any]
    revision: str = field(default="")

    def __post_init__(self) -> None:
        if not self.revision:
            object.__setattr__(self, "revision", revision_of(self.modules, self.data))

    @property
    def modules(self) -> dict[str, str]:
        """What decides: all but the tests."""
        return {name: text for name, text in self.files.items() if not name.endswith(_TEST_SUFFIX)}

    @property
    def tests(self) -> dict[str, str]:
        return {name: text for name, text in self.files.items() if name.endswith(_TEST_SUFFIX)}


def revision_of(modules: dict[str, str], data: object) -> str:
    """SHA-256 in hex over the modules by name, and the data. Tests decide nothing and do not count."""
    content = json.dumps([sorted(modules.items()), data], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def load_bundle(path: Path, overrides: Path | None = None) -> Bundle:
    """Read `*.rego` and `data.json` below `path`; `overrides` is a JSON object laid over the data.

    Objects are merged key by key, anything else is replaced. Raises `PermanentError`, naming file and line,
    when something cannot be read or parsed or when the bundle does not answer a sample question. The tests
    are read, but parsed only when they are run.
    """
    if not path.is_dir():
        raise PermanentError(f"policies: {path} is not a folder")
    files: dict[str, str] = {}
    for file in sorted(path.rglob("*.rego")):
        name = file.relative_to(path)
        if not any(part.startswith(".") for part in name.parts):
            files[name.as_posix()] = _read(file)
    data_file = path / "data.json"
    data = _read_object(data_file) if data_file.exists() else {}
    if overrides is not None:
        data = _merged(data, _read_object(overrides))
    bundle = Bundle(files=files, data=data)
    if not bundle.modules:
        raise PermanentError(f"policies: {path} holds no .rego file")
    check_bundle(bundle)
    return bundle


def check_bundle(bundle: Bundle, seconds: float = CHECK_SECONDS) -> None:
    """Raise `PermanentError` unless every module parses and the sample question gets an answer in time."""
    answers = evaluate_once(bundle.modules, bundle.data, [QUERY], question=sample_question(), seconds=seconds)
    answer = answers[0]
    if "error" in answer and _NO_SUCH_RULE not in answer["error"]:
        raise PermanentError(f"policies: {explain(answer['error'])}")
    if answer.get("value") is None:
        raise PermanentError(
            f"policies: {QUERY} is undefined for a sample question; every bundle must define it"
        )


def evaluate_once(
    files: dict[str, str],
    data: dict[str, Any],
    rules: list[str],
    *,
    question: dict[str, Any] | None = None,
    seconds: float = CHECK_SECONDS,
) -> list[dict[str, Any]]:
    """Evaluate rules in a child that lives for this call: one `{"value"}` or `{"error"}` for each rule.

    Raises `PermanentError` when the modules do not parse, time is up, or the child dies.
    """
    asked = {} if question is None else {"input": question}
    return evaluate_all(files, data, [{"rule": rule, **asked} for rule in rules], seconds=seconds)


def evaluate_all(
    files: dict[str, str],
    data: dict[str, Any],
    asked: list[dict[str, Any]],
    *,
    seconds: float = CHECK_SECONDS,
) -> list[dict[str, Any]]:
    """The same for questions of any kind: each names a `rule` and, if it has one, its `input`."""
    lines = [{"modules": files, "data": data}, *asked]
    try:
        done = subprocess.run(
            child_command(),
            input="".join(json.dumps(line) + "\n" for line in lines),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PermanentError(f"policies: no answer in {seconds:g} s; a rule may not end") from None
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if answers and "error" in answers[0]:
        raise PermanentError(f"policies: {explain(answers[0]['error'])}")
    if len(answers) != len(lines):
        raise PermanentError(f"policies: the engine ended with code {done.returncode} before it had answered")
    return answers[1:]


def child_command() -> list[str]:
    """How the evaluating process is started. `-P`: this folder's modules must not shadow other packages."""
    return [sys.executable, "-P", str(_CHILD)]


def explain(complaint: str) -> str:
    """The engine's complaint on one line, place first: `freeze.rego:12:3: expecting expression`."""
    place, text = _PLACE.search(complaint), _COMPLAINT.search(complaint)
    reason = (
        text["text"].strip() if text else complaint.strip().splitlines()[0] if complaint.strip() else "error"
    )
    if place is None:
        return reason
    return f"{place['file']}:{place['line']}:{place['column']}: {reason}"


def input_schema() -> dict[str, Any]:
    """JSON schema of the document that policies see as `input`, for `opa check --schema` and for editors."""
    return PolicyInput.model_json_schema(mode="serialization", by_alias=True)


def sample_question() -> dict[str, Any]:
    """A question as the product asks it, to try bundles on."""
    target = ResourceRef(cluster="sample", kind="Deployment", namespace="sample", name="sample")
    return PolicyInput(
        now=datetime(2026, 1, 1, tzinfo=UTC),
        incident_id="INC-20260101-001",
        severity="high",
        risk_score=50,
        attempt=1,
        drill=False,
        cluster="sample",
        namespace="sample",
        environment="production",
        action=Action(type="restart_workload", target=target),
        risk=Risk.LOW,
        reversible=True,
        category="unknown",
        confidence=0.9,
        verdict="root_cause",
        blast_radius=BlastRadius(replicas=1),
    ).document()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PermanentError(f"policies: {file} cannot be read: {error}") from None


def _read_object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(_read(file))
    except json.JSONDecodeError as error:
        raise PermanentError(f"policies: {file}:{error.lineno}:{error.colno}: {error.msg}") from None
    if not isinstance(content, dict):
        raise PermanentError(f"policies: {file}:1: must hold a JSON object")
    return content


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
