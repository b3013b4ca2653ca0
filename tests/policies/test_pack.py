"""The shipped pack: its own tests on both engines, and what must hold for every question."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cortexops.adapters.policy import shipped_bundle
from cortexops.adapters.policy_bundle import Bundle, input_schema
from cortexops.adapters.policy_opa import OpaPolicy
from cortexops.adapters.policy_regorus import RegorusPolicy
from cortexops.adapters.policy_tests import run_policy_tests
from cortexops.domain.action import Action, BlastRadius, ProposedBy, ProposerKind, Risk
from cortexops.domain.autonomy import Autonomy, Level
from cortexops.domain.errors import InvalidInput, PermanentError
from cortexops.domain.policy import (
    Effect,
    FreezeWindow,
    History,
    Outcomes,
    PolicyDecision,
    PolicyInput,
    StopNotice,
)
from cortexops.domain.resource import ResourceRef
from cortexops.ports.policy import PolicyEngine
from tests.policies.support import POLICIES, opa_arguments, opa_binary, opa_server, question

FREEZE = {
    "name": "spring",
    "start": "2026-03-10T00:00:00Z",
    "end": "2026-03-20T00:00:00Z",
    "environments": ["production", "staging"],
}


def with_config(**changes: Any) -> Bundle:
    bundle = shipped_bundle()
    data = json.loads(json.dumps(bundle.data))
    data["cortexops"]["config"].update(changes)
    return Bundle(bundle.files, data)


def test_pack_passes_its_tests_on_regorus():
    results = run_policy_tests(shipped_bundle())
    assert len(results) >= 60
    assert [result for result in results if not result.passed] == []


@pytest.mark.opa
def test_both_engines_report_the_same_tests_and_results():
    opa = opa_binary()
    assert run_policy_tests(shipped_bundle()) == run_policy_tests(shipped_bundle(), "opa", opa=opa)


FAILING = {
    "p.rego": 'package cortexops\n\ndecision := {"effect": "deny", "reasons": ["x"]}\n',
    "p_test.rego": (
        'package cortexops_test\n\ntest_right if data.cortexops.decision.effect == "deny"\n\n'
        'test_wrong if data.cortexops.decision.effect == "allow"\n'
    ),
}


def test_failing_policy_test_is_reported():
    right, wrong = run_policy_tests(Bundle(FAILING, {}))
    assert (right.name, right.passed) == ("data.cortexops_test.test_right", True)
    assert (wrong.name, wrong.passed, wrong.detail) == ("data.cortexops_test.test_wrong", False, "undefined")


@pytest.mark.opa
def test_failing_policy_test_is_reported_by_opa_too():
    right, wrong = run_policy_tests(Bundle(FAILING, {}), "opa", opa=opa_binary())
    assert (right.passed, wrong.passed) == (True, False)
    assert "p_test.rego:5" in wrong.detail


def test_broken_test_file_is_refused_with_its_place():
    broken = {**FAILING, "p_test.rego": "package cortexops_test\n\ntest_x if {\n"}
    with pytest.raises(PermanentError, match=r"p_test\.rego:\d+"):
        run_policy_tests(Bundle(broken, {}))


@pytest.mark.opa
def test_broken_test_file_is_refused_by_opa_too():
    broken = {**FAILING, "p_test.rego": "package cortexops_test\n\ntest_x if {\n"}
    with pytest.raises(PermanentError, match=r"p_test\.rego:\d+"):
        run_policy_tests(Bundle(broken, {}), "opa", opa=opa_binary())


def test_running_on_opa_needs_its_executable():
    with pytest.raises(InvalidInput, match="opa"):
        run_policy_tests(shipped_bundle(), "opa")


def test_bundle_without_tests_has_no_results():
    assert run_policy_tests(Bundle({"p.rego": FAILING["p.rego"]}, {})) == []


@pytest.mark.opa
def test_pack_is_strict_formatted_and_names_only_fields_that_exist(tmp_path: Path):
    opa = opa_binary()
    schema = tmp_path / "input.json"
    schema.write_text(json.dumps(input_schema()))
    modules = [str(POLICIES / name) for name in shipped_bundle().modules]
    for arguments in (
        ["check", "--strict", str(POLICIES)],
        ["check", "--strict", "--schema", str(schema), *modules],
        ["fmt", "--diff", "--fail", str(POLICIES)],
    ):
        done = subprocess.run([str(opa), *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_documentation_names_every_rule_and_reason():
    text = (POLICIES.parent / "docs" / "policies.md").read_text()
    for name, rego in shipped_bundle().modules.items():
        for word in re.findall(r'"(?:rule|reason)": "([a-z_-]+)"', rego):
            assert f"`{word}`" in text, f"{word} of {name} is not documented"


@dataclass(frozen=True)
class Engines:
    """Both engines with the same bundle, and the loop on which they live."""

    runner: asyncio.Runner
    regorus: RegorusPolicy
    opa: OpaPolicy | None = None

    def ask(self, asked: PolicyInput) -> list[PolicyDecision]:
        engines: list[PolicyEngine] = [self.regorus, self.opa] if self.opa else [self.regorus]
        return [self.runner.run(engine.evaluate(asked)) for engine in engines]


@pytest.fixture(scope="module")
def default_pack() -> Iterator[Engines]:
    with asyncio.Runner() as runner:
        regorus = RegorusPolicy(shipped_bundle())
        yield Engines(runner, regorus)
        runner.run(regorus.close())


@pytest.fixture(scope="module")
def frozen_pack() -> Iterator[Engines]:
    with asyncio.Runner() as runner:
        regorus = RegorusPolicy(with_config(freezes=[FREEZE]))
        yield Engines(runner, regorus)
        runner.run(regorus.close())


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Autonomy and a freeze are on, so that every branch can be reached."""
    autonomy = {"production": True, "replicas": 3, "dependents": 1}
    bundle = with_config(freezes=[FREEZE], autonomy=autonomy)
    folder = tmp_path_factory.mktemp("pack")
    for name, text in bundle.files.items():
        (folder / name).write_text(text)
    (folder / "data.json").write_text(json.dumps(bundle.data))
    with opa_server(opa_binary(), *opa_arguments(folder)) as url, asyncio.Runner() as runner:
        regorus, opa = RegorusPolicy(bundle), OpaPolicy(url)
        yield Engines(runner, regorus, opa)
        runner.run(opa.close())
        runner.run(regorus.close())


names = st.sampled_from(
    ["shop", "kube-system", "kube-flannel", "openshift-etcd", "mesh", "", "Kube-System", "ſhop"]
)
environments = st.sampled_from(["production", "prod", "staging", "dev", "", "Staging", "stagİng", "eu"])
near = st.sampled_from([0.0, 0.49, 0.5, 0.69, 0.7, 0.89, 0.9, 1.0])
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=11))])
times = st.one_of(
    st.datetimes(datetime(2026, 3, 9), datetime(2026, 3, 21), timezones=zones),
    st.datetimes(timezones=zones, allow_imaginary=False),
)


windows = st.builds(
    FreezeWindow,
    name=st.just("window"),
    start=st.sampled_from([datetime(2026, 3, 9, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)]),
    end=st.sampled_from(
        [
            datetime(2026, 3, 8, tzinfo=UTC),
            datetime(2026, 5, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        ]
    ),
    clusters=st.sampled_from([(), ("east",), ("west",)]),
    namespaces=st.sampled_from([(), ("shop",), ("pay",)]),
    environments=st.sampled_from([(), ("production",), ("staging",)]),
)


@st.composite
def questions(draw: st.DrawFn) -> PolicyInput:
    dependents = draw(st.integers(0, 7))
    return question(
        now=draw(times),
        severity=draw(st.sampled_from(["critical", "high", "medium", "low"])),
        attempt=draw(st.integers(-1, 7)),
        drill=draw(st.booleans()),
        cluster=draw(st.sampled_from(["east", "west"])),
        namespace=draw(names),
        environment=draw(st.one_of(environments, st.text(max_size=12))),
        action=Action(
            type=draw(st.sampled_from(["rollback_rollout", "cordon_node", "anything"])),
            target=ResourceRef(cluster="east", kind="Deployment", namespace=draw(names), name="api"),
            params={"text": draw(st.text(max_size=20)), "number": draw(st.integers(-(2**40), 2**40))},
        ),
        risk=draw(st.sampled_from(list(Risk))),
        reversible=draw(st.booleans()),
        confidence=draw(st.one_of(near, st.floats(allow_nan=False, allow_infinity=False))),
        verdict=draw(st.sampled_from(["root_cause", "hypothesis", "external", "healthy", "unknown", "x"])),
        blast_radius=BlastRadius(
            replicas=draw(st.integers(-1, 120)),
            namespaces=draw(st.integers(0, 7)),
            dependents=tuple(
                ResourceRef(cluster="east", kind="Pod", name=f"p{i}") for i in range(dependents)
            ),
            stateful=draw(st.booleans()),
            disruptions_allowed=draw(st.none() | st.integers(-1, 3)),
            traffic=draw(st.none() | st.sampled_from([0.0, 99.9, 100.0, 100.1]) | st.floats(0, 1e6)),
        ),
        proposed_by=ProposedBy(
            kind=draw(st.sampled_from(list(ProposerKind))), name=draw(st.text(max_size=12))
        ),
        autonomy=Autonomy(level=draw(st.sampled_from(list(Level)))),
        history=History(target=Outcomes(rolled_back=draw(st.integers(-1, 2)))),
        stops=draw(
            st.sampled_from([(), (StopNotice(id="stop-1", scope="everything", by="ana", reason="x"),)])
        ),
        freezes=draw(st.lists(windows, max_size=2).map(tuple)),
    )


@st.composite
def promising(draw: st.DrawFn) -> PolicyInput:
    """Questions that are harmless but for a few fields: random ones are nearly always denied."""
    wild = draw(questions())
    spoilt = draw(st.sets(st.sampled_from(sorted(PolicyInput.model_fields)), max_size=3))
    base = question(environment=draw(environments), now=datetime(2026, 5, 1, tzinfo=UTC))
    return base.model_copy(update={key: getattr(wild, key) for key in spoilt})


relaxed = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    print_blob=False,
)


@pytest.mark.opa
@relaxed
@given(asked=st.one_of(questions(), promising()))
def test_both_engines_decide_alike(both: Engines, asked: PolicyInput):
    ours, theirs = both.ask(asked)
    same = {"engine": "", "revision": ""}
    assert ours.model_copy(update=same) == theirs.model_copy(update=same)
    assert ours.rule != "fail_closed"


@relaxed
@given(asked=promising())
def test_production_is_never_allowed_by_default(default_pack: Engines, asked: PolicyInput):
    (decision,) = default_pack.ask(asked)
    if asked.environment not in {"dev", "development", "test", "testing", "qa", "sandbox", "staging"}:
        assert decision.effect is not Effect.ALLOW


@relaxed
@given(
    asked=promising(), namespace=st.sampled_from(["kube-system", "kube-public", "kube-x", "openshift-dns"])
)
def test_protected_namespace_is_always_denied(default_pack: Engines, asked: PolicyInput, namespace: str):
    for protected in (
        asked.model_copy(update={"namespace": namespace}),
        asked.model_copy(
            update={
                "action": Action(
                    type="x", target=ResourceRef(cluster="c", kind="K", namespace=namespace, name="n")
                )
            }
        ),
    ):
        (decision,) = default_pack.ask(protected)
        assert decision.effect is Effect.DENY
        assert "protected_namespace" in decision.reasons


@relaxed
@given(asked=promising(), minutes=st.integers(0, 14_399))
def test_nothing_is_allowed_in_a_freeze(frozen_pack: Engines, asked: PolicyInput, minutes: int):
    start = datetime(2026, 3, 10, tzinfo=UTC)
    frozen = asked.model_copy(update={"now": start + timedelta(minutes=minutes), "environment": "staging"})
    (decision,) = frozen_pack.ask(frozen)
    assert decision.effect is not Effect.ALLOW
    if frozen.severity != "critical":
        assert "change_freeze" in decision.reasons or "input_unreadable" in decision.reasons


@relaxed
@given(asked=promising())
def test_a_drill_changes_no_answer(default_pack: Engines, asked: PolicyInput):
    real, drill = asked.model_copy(update={"drill": False}), asked.model_copy(update={"drill": True})
    assert default_pack.ask(real) == default_pack.ask(drill)


@relaxed
@given(asked=promising(), kind=st.sampled_from([ProposerKind.MODEL, ProposerKind.MEMORY]))
def test_nothing_that_a_model_or_the_past_put_first_is_done_unasked(
    default_pack: Engines, asked: PolicyInput, kind: ProposerKind
):
    proposed = asked.model_copy(update={"proposed_by": ProposedBy(kind=kind, name="x")})
    (decision,) = default_pack.ask(proposed)
    assert decision.effect is not Effect.ALLOW


@relaxed
@given(asked=promising(), level=st.sampled_from(list(Level)))
def test_the_ladder_only_ever_tightens(default_pack: Engines, asked: PolicyInput, level: Level):
    strictness = [Effect.ALLOW, Effect.REQUIRE_APPROVAL, Effect.DENY]
    at = [
        default_pack.ask(asked.model_copy(update={"autonomy": Autonomy(level=each)}))[0].effect
        for each in (Level.AUTO, level)
    ]
    assert strictness.index(at[1]) >= strictness.index(at[0])
    if level is Level.APPROVE:
        assert at[1] is not Effect.ALLOW
    if level in (Level.OBSERVE, Level.SUGGEST):
        assert at[1] is Effect.DENY
