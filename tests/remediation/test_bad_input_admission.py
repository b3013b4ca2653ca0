"""Admission that changes what is sent: people agree on what the server makes of a change, and if the server then
stores something else, that is said and never passes for success."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

import jsonpatch
import pytest
from temporalio.exceptions import ApplicationError

from cortexops.contracts.remediation import ApplyOutcome, ApplyResult
from cortexops.domain.audit import AuditType
from cortexops.domain.errors import CortexError, TemporaryError
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerState
from cortexops.domain.resource import JSON
from tests.remediation.support import SECRET, Stage
from tests.remediation.test_actions_live import scale
from tests.remediation.test_catalogue_live import the_job

Admission = Callable[[bool], list[JSON]]
"""From whether it is a dry run, to the JSON Patch of a mutating webhook."""


def admitting(stage: Stage, monkeypatch: pytest.MonkeyPatch, change: Admission) -> None:
    """What a mutating webhook does, between the writing identity and the API server, which judges and stores
    the outcome as its own."""
    patch, create = stage.writer.patch, stage.writer.create

    async def patched(*args: Any, dry_run: bool = False, **options: Any) -> JSON:
        kind, namespace, name, body = args
        return await patch(kind, namespace, name, [*body, *change(dry_run)], dry_run=dry_run, **options)

    async def created(*args: Any, dry_run: bool = False, **options: Any) -> JSON:
        kind, namespace, body = args
        mutated = jsonpatch.apply_patch(body, change(dry_run)) if kind == "Job" else body
        return await create(kind, namespace, mutated, dry_run=dry_run, **options)

    monkeypatch.setattr(stage.writer, "patch", patched)
    monkeypatch.setattr(stage.writer, "create", created)


def five(dry: bool) -> list[JSON]:
    return [{"op": "replace", "path": "/spec/replicas", "value": 5}]


def slower(dry: bool) -> list[JSON]:
    """Beside what is edited."""
    return [{"op": "add", "path": "/spec/minReadySeconds", "value": 30}]


def both(dry: bool) -> list[JSON]:
    return [*five(dry), *slower(dry)]


def sidecar(dry: bool) -> list[JSON]:
    container = {"name": "sidecar", "image": "r.local/side:1.0"}
    return [{"op": "add", "path": "/spec/template/spec/containers/-", "value": container}]


def when_it_counts(change: Admission) -> Admission:
    """Only of what is stored: dry runs look harmless."""
    return lambda dry: [] if dry else change(dry)


async def refused_as_different(stage: Stage, result: ApplyResult) -> str:
    """That the difference is told with its reason, kept in ledger and trail; the words."""
    assert (result.outcome, result.reason) == (ApplyOutcome.UNKNOWN, Reason.EFFECT_DIFFERS), result.detail
    assert "stored something else than its dry run answered" in result.detail
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.UNKNOWN
    last = (await stage.trail())[-1]
    assert (last.type, last.reason) == (AuditType.EFFECT_UNKNOWN, Reason.EFFECT_DIFFERS)
    assert last.detail == result.detail
    assert "kubectl" in result.detail
    return result.detail


async def test_people_are_shown_what_admission_makes_of_the_change_and_get_just_that(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = await scale(stage)
    admitting(stage, monkeypatch, both)
    found = await stage.dry_run(action)
    assert found.ok and found.preview is not None, found.detail
    shown = {line.path: line.after for line in found.preview.diff}
    assert shown == {"/spec/minReadySeconds": "30", "/spec/replicas": "5"}
    result = await stage.apply(await stage.order(action))
    assert result.outcome is ApplyOutcome.APPLIED, result.detail
    live = await stage.live()
    assert (live["spec"]["replicas"], live["spec"]["minReadySeconds"]) == (5, 30)


@pytest.mark.parametrize("change", [five, slower])
async def test_a_webhook_that_comes_after_the_approval_voids_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, change: Admission
) -> None:
    order = await stage.order(await scale(stage))
    before = await stage.live()
    admitting(stage, monkeypatch, change)
    result = await stage.apply(order)
    assert (result.outcome, result.reason) == (ApplyOutcome.CHANGED, Reason.OBJECT_CHANGED)
    assert "not the one that was agreed on" in result.detail
    assert (await stage.live())["spec"] == before["spec"]
    assert await stage.store.rows_of(stage.incident) == []
    assert [e.type for e in await stage.trail()] == [AuditType.ACTION_REFUSED]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (five, "/spec/replicas: agreed on 1, stored 5"),
        (slower, "/spec is not as the dry run answered"),
    ],
)
async def test_admission_that_treats_dry_runs_differently_is_found_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, change: Admission, words: str
) -> None:
    action = await scale(stage)
    admitting(stage, monkeypatch, when_it_counts(change))
    order = await stage.order(action)
    result = await stage.apply(order)
    assert words in await refused_as_different(stage, result)
    generation = await stage.generation()
    assert await stage.apply(order) == result  # said again, nothing is sent again
    assert await stage.generation() == generation


@pytest.mark.parametrize("change", [five, slower])
async def test_it_is_also_found_out_when_the_answer_was_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, change: Admission
) -> None:
    order = await stage.order(await scale(stage))
    admitting(stage, monkeypatch, when_it_counts(change))
    mutated = stage.writer.patch

    async def lost(*args: Any, dry_run: bool = False, **options: Any) -> JSON:
        answer = await mutated(*args, dry_run=dry_run, **options)
        if not dry_run:
            raise TemporaryError("no answer from the API server in time")
        return answer

    monkeypatch.setattr(stage.writer, "patch", lost)
    with pytest.raises(ApplicationError):
        await stage.apply(order)
    await refused_as_different(stage, await stage.apply(order))


async def test_admission_that_would_not_let_the_earlier_values_back_stops_the_undo(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied = await stage.apply(await stage.order(await scale(stage)))
    assert applied.outcome is ApplyOutcome.APPLIED
    admitting(stage, monkeypatch, five)
    undone = await stage.compensate(applied.operation_id)
    assert (undone.done, undone.reason) == (False, Reason.COMPENSATION_FAILED)
    assert "the undo was not sent" in undone.detail
    assert "agreed on 0, stored 5" in undone.detail
    assert undone.commands
    assert (await stage.live())["spec"]["replicas"] == 1
    assert (await stage.trail())[-1].type is AuditType.COMPENSATION_REFUSED


async def test_the_commands_after_another_effect_start_from_what_is_stored(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await stage.order(await scale(stage))
    with monkeypatch.context() as only_now:
        admitting(stage, only_now, when_it_counts(five))
        words = await refused_as_different(stage, await stage.apply(order))
    (command,) = [line for line in words.splitlines() if " patch " in line]
    patch = json.loads(shlex.split(command)[-1])
    restored = await stage.admin.patch("Deployment", stage.space, "api", patch)
    assert restored["spec"]["replicas"] == 0
    with pytest.raises(CortexError):
        await stage.admin.patch("Deployment", stage.space, "api", patch)


async def test_an_undo_that_was_stored_otherwise_is_no_undo(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied = await stage.apply(await stage.order(await scale(stage)))
    admitting(stage, monkeypatch, when_it_counts(five))
    undone = await stage.compensate(applied.operation_id)
    assert (undone.done, undone.reason) == (False, Reason.COMPENSATION_FAILED)
    assert "agreed on 0, stored 5" in undone.detail
    (command,) = [command for command in undone.commands if " patch " in command]
    tests = [one for one in json.loads(shlex.split(command)[-1]) if one["op"] == "test"]
    assert {"op": "test", "path": "/spec/replicas", "value": 5} in tests, "pasting it must be possible"
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.UNKNOWN


async def test_a_new_job_is_shown_as_the_server_would_make_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = await the_job(stage)
    admitting(stage, monkeypatch, sidecar)
    found = await stage.dry_run(action)
    assert found.ok and found.preview is not None, found.detail
    assert "r.local/side:1.0" in "".join(line.after for line in found.preview.diff)
    assert "controller-uid" not in found.preview.model_dump_json()
    result = await stage.apply(await stage.order(action))
    assert result.outcome is ApplyOutcome.APPLIED, result.detail


async def test_a_new_job_that_is_not_the_one_that_was_shown_is_found_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = await the_job(stage)
    admitting(stage, monkeypatch, when_it_counts(sidecar))
    await refused_as_different(stage, await stage.apply(await stage.order(action)))


async def test_no_secret_is_in_the_words(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first = await stage.rolled_out()
    order = await stage.order(stage.action("rollback_rollout", to_revision=1, replica_set=first))
    env = [{"name": "DB_PASSWORD", "value": f"{SECRET}9"}]
    other = [{"op": "add", "path": "/spec/template/spec/containers/0/env", "value": env}]
    admitting(stage, monkeypatch, when_it_counts(lambda dry: other))
    words = await refused_as_different(stage, await stage.apply(order))
    assert SECRET not in words + await stage.said()
