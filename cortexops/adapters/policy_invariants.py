"""What must hold for every bundle before it may decide: its own tests, and that it fails closed."""

from __future__ import annotations

from typing import Any

from cortexops.adapters.policy_bundle import Bundle, evaluate_all, sample_question
from cortexops.adapters.policy_tests import TestResult, run_policy_tests
from cortexops.domain.policy import QUERY, Effect, PolicyDecision, read_decision

_SECONDS = 30.0
_RELIED_ON = ("environment", "risk", "confidence", "action", "blast_radius", "now", "attempt", "verdict")
"""Fields without which no change may be allowed."""
_ENVIRONMENTS = ("production", "staging", "dev", "", "nobody-knows")
_RISKS = ("low", "medium", "high")


def faults(bundle: Bundle) -> list[str]:
    """Why the bundle may not replace another; empty when it may.

    Runs its tests, and a fixed set of questions: each whole one must get a readable answer with reasons,
    and none with a gap may be allowed. Raises `PermanentError` when it cannot be evaluated at all.
    """
    if not bundle.tests:
        return ["it holds no test (a rule test_… in a file …_test.rego)"]
    failed = [result for result in run_policy_tests(bundle) if not result.passed]
    found = [f"{result.name} failed: {result.detail}" for result in failed]
    return found or [result.detail for result in invariant_results(bundle) if not result.passed]


def invariant_results(bundle: Bundle) -> list[TestResult]:
    """The invariants alone, as tests are told of."""
    unreadable, opened = _unreadable(bundle), _open(bundle)
    return [
        TestResult("answers_are_readable", not unreadable, "; ".join(unreadable)),
        TestResult("gaps_are_not_allowed", not opened, "; ".join(opened)),
    ]


def _unreadable(bundle: Bundle) -> list[str]:
    """Whole questions without a proper answer."""
    sample = sample_question()
    questions = [
        {
            **sample,
            "environment": environment,
            "risk": risk,
            "autonomy": {**sample["autonomy"], "level": level},
        }
        for environment in _ENVIRONMENTS
        for risk in _RISKS
        for level in ("observe", "approve", "auto")
    ]
    found = []
    for asked, decision in zip(questions, _answers(bundle, questions), strict=True):
        if decision.rule == "fail_closed":
            what = f"environment={asked['environment']!r}, risk={asked['risk']}"
            found.append(f"{', '.join(decision.reasons)} for a sample question ({what})")
    return sorted(set(found))[:5]


def _open(bundle: Bundle) -> list[str]:
    """Questions with a gap that are allowed all the same."""
    sample = {**sample_question(), "environment": "staging"}
    sample["autonomy"] = {**sample["autonomy"], "level": "auto"}
    gaps: list[tuple[str, Any]] = [("an empty question", {}), ("a question that is a text", "allow")]
    for field in _RELIED_ON:
        gaps.append((f"no {field}", {key: value for key, value in sample.items() if key != field}))
        gaps.append((f"{field} null", {**sample, field: None}))
    answers = _answers(bundle, [asked for _, asked in gaps])
    return [
        f"it does not fail closed: {what} is allowed"
        for (what, _), answer in zip(gaps, answers, strict=True)
        if answer.effect is Effect.ALLOW
    ]


def _answers(bundle: Bundle, questions: list[Any]) -> list[PolicyDecision]:
    lines = [{"rule": QUERY, "input": asked} for asked in questions]
    answers = evaluate_all(bundle.modules, bundle.data, lines, seconds=_SECONDS)
    return [
        read_decision(answer.get("value"), revision=bundle.revision, engine="regorus") for answer in answers
    ]
