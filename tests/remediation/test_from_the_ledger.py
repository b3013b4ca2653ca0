"""A ConfigMap key gets back the value with which our own ledger knows it well, where nothing else remembers it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from activities.actions import ACTIONS
from activities.investigation import InvestigationActivities
from cortexops.contracts.remediation import ApplyOutcome
from cortexops.domain.action import Action, Candidate
from cortexops.domain.audit import AuditEntry, AuditType
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerState
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from tests.remediation.support import SECRET, Stage

NOW = datetime(2026, 8, 14, 3, 0, tzinfo=UTC)


async def verified(stage: Stage, *, state: LedgerState = LedgerState.VERIFIED) -> str:
    """An earlier incident in which MODE was put back to `good`; the operation."""
    await stage.admin.create("ConfigMap", stage.space, config("old", MODE="good"))
    await stage.admin.create("ConfigMap", stage.space, config("env", MODE="bad", PORT="80", TOKEN=SECRET))
    action = stage.action("patch_config", env(stage), key="MODE", source="old")
    done = await stage.apply(await stage.order(action))
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    if state is not LedgerState.APPLIED:
        entry = AuditEntry(
            chain=stage.incident,
            type=AuditType.VERIFIED,
            reason=Reason.VERIFIED,
            at=datetime.now(UTC),
            idempotency_key="settled",
        )
        await stage.store.settle(done.operation_id, state, "", entry)
    await stage.admin.delete("ConfigMap", stage.space, "old")
    return done.operation_id


def config(name: str, **data: str) -> JSON:
    return {"metadata": {"name": name}, "data": data}


def env(stage: Stage) -> ResourceRef:
    return stage.ref("ConfigMap", "env")


async def broken(stage: Stage, **data: str) -> None:
    """What somebody does to it later, with nothing that remembers the earlier value."""
    await stage.edit({"data": data}, env(stage))


async def proposed(stage: Stage, key: str) -> Candidate:
    """What is offered when the key is at fault, as the investigation asks for it."""
    target = env(stage)
    cause = Hypothesis(
        resource=target,
        category=Category.CONFIGMAP_CHANGED,
        summary="x",
        support=Support(direct=1),
        facts={"key": key},
        confidence=0.9,
    )
    diagnosis = Diagnosis(target=target, verdict=Verdict.ROOT_CAUSE, hypotheses=(cause,))
    seen = Scene(
        cluster=target.cluster,
        environment="staging",
        target=target,
        now=NOW,
        onset=NOW,
        objects={target.key: await stage.live(target)},
    )
    investigation = InvestigationActivities({}, stage.store, None, lambda scene, diagnosis: [])
    (found,) = ACTIONS["patch_config"].propose(await investigation._with_earlier(seen, diagnosis), diagnosis)
    return found


async def carried_out(stage: Stage, action: Action) -> str:
    done = await stage.apply(await stage.order(action, attempt=2))
    assert done.outcome is ApplyOutcome.APPLIED, done.detail
    return done.operation_id


@pytest.mark.parametrize(
    ("key", "now", "earlier"), [("MODE", "worse", "good"), ("PORT", "81", "80")], ids=["written", "snapshot"]
)
async def test_the_value_of_a_verified_change_is_offered_put_back_and_taken_back(
    stage: Stage, key: str, now: str, earlier: str
) -> None:
    operation = await verified(stage)
    await broken(stage, **{key: now})
    found = await proposed(stage, key)
    assert found.feasible, found.why
    assert found.action.params == {"key": key, "source": "ledger", "operation": operation, "value": earlier}
    assert operation in found.why
    again = await carried_out(stage, found.action)
    live = await stage.live(env(stage))
    assert live["data"] == {"MODE": "good", "PORT": "80", "TOKEN": SECRET}
    assert (await stage.compensate(again, attempt=2)).done
    assert (await stage.live(env(stage)))["data"][key] == now
    assert SECRET not in await stage.said()


@pytest.mark.parametrize("state", [LedgerState.APPLIED, LedgerState.UNKNOWN, LedgerState.COMPENSATED])
async def test_what_was_never_verified_is_no_earlier_value(simulated: Stage, state: LedgerState) -> None:
    operation = await verified(simulated, state=state)
    await broken(simulated, MODE="worse")
    found = await proposed(simulated, "MODE")
    assert not found.feasible and "in our ledger" in found.why
    asked = simulated.action("patch_config", env(simulated), key="MODE", source="ledger", operation=operation)
    tried = await simulated.dry_run(asked, attempt=2)
    assert (tried.ok, "no earlier value" in tried.detail) == (False, True)


async def test_only_the_value_that_the_ledger_has_for_that_very_object_is_put_back(simulated: Stage) -> None:
    operation = await verified(simulated)
    await broken(simulated, MODE="worse", TOKEN="other")
    for target, params in (
        (env(simulated), {"key": "MODE", "value": "invented"}),
        (env(simulated), {"key": "TOKEN"}),  # a secret is in no snapshot
        (env(simulated), {"key": "NEW"}),
        (simulated.ref("ConfigMap", "twin"), {"key": "MODE"}),
    ):
        if target.name == "twin":
            await simulated.admin.create("ConfigMap", simulated.space, config("twin", MODE="worse"))
        asked = simulated.action("patch_config", target, source="ledger", operation=operation, **params)
        assert not (await simulated.dry_run(asked, attempt=2)).ok, params
    asked = simulated.action(
        "patch_config", env(simulated), source="ledger", operation="INC-0.1.1.x", key="MODE"
    )
    assert not (await simulated.dry_run(asked, attempt=2)).ok
