"""What goes wrong at the very call that changes something: one effect or none, a row in the trail, a reason."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from temporalio.exceptions import ApplicationError

from activities import remediation
from activities.guarded import GuardedRemediation
from cortexops.contracts.remediation import ApplyOutcome, ApplyResult
from cortexops.domain.action import Action
from cortexops.domain.audit import AuditType
from cortexops.domain.errors import Conflict, CortexError, Forbidden, NotFound, TemporaryError
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerState
from cortexops.domain.resource import JSON
from sandbox.cluster.faults import Fault
from tests.remediation.support import SECRET, Stage, eventually
from tests.remediation.test_actions_live import its_pod, owner_of_pods, scale
from tests.remediation.test_catalogue_live import the_job
from tests.remediation.test_effects import NOT_DRY
from tests.remediation.test_values_live import config
from tests.support.engines import Database

_OF_CONTROLLERS = "kubernetes.io/service-account-token"
WRITES = ("patch", "create", "delete")
Call = tuple[str, tuple[Any, ...], dict[str, Any]]


async def a_key(stage: Stage, kind: str) -> Action:
    await stage.admin.create(kind, stage.space, config(kind, {"k": "bad"}, {"k": "good"}))
    return stage.action("patch_config", stage.ref(kind, "settings"), key="k", source="last_applied")


async def a_config_map(stage: Stage) -> Action:
    return await a_key(stage, "ConfigMap")


async def a_secret(stage: Stage) -> Action:
    return await a_key(stage, "Secret")


async def a_delete(stage: Stage) -> Action:
    await owner_of_pods(stage)
    return stage.action("delete_pod", stage.ref("Pod", (await its_pod(stage))["metadata"]["name"]))


async def an_eviction(stage: Stage) -> Action:
    await owner_of_pods(stage)
    return stage.action("evict_pod", stage.ref("Pod", (await its_pod(stage))["metadata"]["name"]))


MAKERS = [scale, a_config_map, a_secret, a_delete, an_eviction, the_job]
"""Every way of writing: a patch with a generation and without, of a Secret, a deletion, an eviction, a new object."""
Maker = Callable[[Stage], Awaitable[Action]]


def between(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    real: Callable[[Call, Callable[..., Awaitable[Any]]], Awaitable[Any]],
) -> list[Call]:
    """Every call that would store something goes through `real`; the calls, in order."""
    calls: list[Call] = []
    for verb in WRITES:
        send = getattr(stage.writer, verb)

        def wrapped(verb: str, send: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def sent(*args: Any, dry_run: bool = False, **options: Any) -> Any:
                if dry_run:
                    return await send(*args, dry_run=True, **options)
                call = (verb, args, options)
                calls.append(call)
                return await real(call, send)

            return sent

        monkeypatch.setattr(stage.writer, verb, wrapped(verb, send))
    return calls


async def everything(stage: Stage) -> dict[str, JSON]:
    """What somebody made in the test's namespace, by kind and uid, without bookkeeping and what runs by itself."""
    found: dict[str, JSON] = {}
    for kind in ("Deployment", "ConfigMap", "Secret", "Job", "ReplicaSet"):
        for one in (await stage.admin.list(kind, stage.space)).items:
            if one["metadata"]["name"] == "kube-root-ca.crt" or one.get("type") == _OF_CONTROLLERS:
                continue  # these come by themselves, some time after the namespace
            key = f"{kind} {one['metadata']['uid']}"
            spec = dict(one.get("spec") or {})
            if kind == "ReplicaSet":  # how many it has follows its Deployment a moment later
                del spec["replicas"]
            found[key] = {"spec": spec, "data": one.get("data")}
    return found


async def refused(stage: Stage, result: ApplyResult, outcome: ApplyOutcome, reason: Reason) -> str:
    """That it is in the trail and in the ledger that, and why, nothing was done; the words."""
    assert (result.outcome, result.reason) == (outcome, reason), result.detail
    last = (await stage.trail())[-1]
    assert (last.type, last.reason, last.detail) == (AuditType.ACTION_REFUSED, reason, result.detail)
    for row in await stage.store.rows_of(stage.incident):
        assert row.state is LedgerState.REFUSED
    return result.detail


@pytest.mark.parametrize("make", MAKERS)
async def test_an_answer_that_is_lost_ends_in_one_effect(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, make: Maker
) -> None:
    action = await make(stage)
    order = await stage.order(action)

    async def hangs_after(call: Call, send: Callable[..., Awaitable[Any]]) -> Any:
        _, args, options = call
        await send(*args, **options)
        raise TemporaryError("no answer from the API server in time")

    calls = between(stage, monkeypatch, hangs_after)
    with pytest.raises(ApplicationError, match="no answer") as lost:
        await stage.apply(order)
    assert not lost.value.non_retryable
    after = await everything(stage)
    assert [row.state for row in await stage.store.rows_of(stage.incident)] == [LedgerState.INTENT]
    result = await stage.apply(order)
    assert result.outcome is ApplyOutcome.APPLIED, result.detail
    assert await stage.apply(order) == result
    assert len(calls) == 1
    assert await everything(stage) == after
    assert [e.type for e in await stage.trail()] == [AuditType.INTENT, AuditType.ACTION_EXECUTED]


@pytest.mark.parametrize("make", MAKERS)
async def test_a_request_that_arrives_late_has_no_second_effect(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, make: Maker
) -> None:
    """The first request is held up on its way, its repetition overtakes it, and then it arrives."""
    action = await make(stage)
    order = await stage.order(action)
    held: list[tuple[Call, Callable[..., Awaitable[Any]]]] = []

    async def held_up(call: Call, send: Callable[..., Awaitable[Any]]) -> Any:
        if not held:
            held.append((call, send))
            raise TemporaryError("no answer from the API server in time")
        _, args, options = call
        return await send(*args, **options)

    between(stage, monkeypatch, held_up)
    with pytest.raises(ApplicationError, match="no answer"):
        await stage.apply(order)
    result = await stage.apply(order)
    assert result.outcome is ApplyOutcome.APPLIED, result.detail
    after = await everything(stage)
    ((_, args, options), send) = held[0]
    try:
        await send(*args, **options)
    except (Conflict, NotFound):
        pass
    else:  # a deletion of what is going already changes nothing
        assert make is a_delete
    assert await everything(stage) == after


async def test_an_answer_that_does_not_come_in_time_is_looked_for_at_the_object(
    simulated: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = simulated
    order = await stage.order(await scale(stage))
    before = await stage.generation()
    stage.faults.add(
        Fault(path="/deployments/", method="PATCH", query=NOT_DRY, hang_after_apply=True, times=1)
    )
    monkeypatch.setattr(stage.writer._transport, "_timeout", 0.5)
    with pytest.raises(ApplicationError, match="no answer from the API server in time"):
        await stage.apply(order)
    assert (await stage.apply(order)).outcome is ApplyOutcome.APPLIED
    assert await stage.generation() == before + 1
    assert [e.type for e in await stage.trail()] == [AuditType.INTENT, AuditType.ACTION_EXECUTED]


async def test_an_api_server_that_has_not_read_its_roles_yet_is_asked_again(
    simulated: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = simulated
    order = await stage.order(await scale(stage))

    async def lost(call: Call, send: Callable[..., Awaitable[Any]]) -> Any:
        raise TemporaryError("connection refused")

    with monkeypatch.context() as broken:
        between(stage, broken, lost)
        with pytest.raises(ApplicationError, match="connection refused"):
            await stage.apply(order)

    async def forbidden(*_: Any, **__: Any) -> Any:
        raise Forbidden("missing permission: get deployments (403)")

    with monkeypatch.context() as starting:
        starting.setattr(stage.writer, "get", forbidden)
        with pytest.raises(ApplicationError, match="missing permission") as early:
            await stage.apply(order)
        assert not early.value.non_retryable
        starting.setattr(remediation, "utc_now", lambda: datetime.now(UTC) + timedelta(minutes=2))
        with pytest.raises(ApplicationError, match="missing permission") as late:
            await stage.apply(order)
        assert late.value.non_retryable
    assert (await stage.apply(order)).outcome is ApplyOutcome.APPLIED


async def replaced(stage: Stage) -> str:
    """Somebody deletes the Deployment and makes another of its name; the new one's uid."""
    await stage.admin.delete("Deployment", stage.space, "api")

    async def gone() -> bool:
        return not (await stage.admin.list("Deployment", stage.space)).items

    await eventually(gone)
    return str((await stage.deployment())["metadata"]["uid"])


async def test_an_object_replaced_at_the_last_moment_is_left_alone_and_said_to_be_another(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await stage.order(await scale(stage))
    other: list[str] = []

    async def overtaken(call: Call, send: Callable[..., Awaitable[Any]]) -> Any:
        other.append(await replaced(stage))
        _, args, options = call
        return await send(*args, **options)

    between(stage, monkeypatch, overtaken)
    result = await stage.apply(order)
    assert (result.outcome, result.reason) == (ApplyOutcome.UNKNOWN, Reason.EFFECT_UNKNOWN)
    assert "was replaced by another of that name" in result.detail
    live = await stage.live()
    assert (live["metadata"]["uid"], live["spec"]["replicas"]) == (other[0], 0)
    assert (await stage.trail())[-1].type is AuditType.EFFECT_UNKNOWN


async def test_an_object_replaced_before_the_undo_is_left_alone(stage: Stage) -> None:
    applied = await stage.apply(await stage.order(await scale(stage)))
    uid = await replaced(stage)
    await stage.edit({"spec": {"replicas": 1}})  # it even holds what we wrote into the other
    undone = await stage.compensate(applied.operation_id)
    assert (undone.done, undone.reason) == (False, Reason.COMPENSATION_REFUSED)
    assert "gone or was replaced" in undone.detail
    live = await stage.live()
    assert (live["metadata"]["uid"], live["spec"]["replicas"]) == (uid, 1)
    assert (await stage.trail())[-1].type is AuditType.COMPENSATION_REFUSED


@pytest.mark.parametrize("late", [False, True])
async def test_a_quota_that_is_used_up_after_the_approval_refuses_in_the_servers_words(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Either before the dry run that precedes the change, or between the two."""
    order = await stage.order(await the_job(stage))
    jobs = len((await stage.admin.list("Job", stage.space)).items)

    async def used_up() -> None:
        body = {"metadata": {"name": "few"}, "spec": {"hard": {"count/jobs.batch": "1"}}}
        await stage.admin.create("ResourceQuota", stage.space, body)

        async def counted() -> bool:
            found = await stage.admin.get("ResourceQuota", stage.space, "few")
            used = (found.get("status") or {}).get("used") or {}
            return bool(used.get("count/jobs.batch") == "1")

        await eventually(counted)

    async def overtaken(call: Call, send: Callable[..., Awaitable[Any]]) -> Any:
        if late:
            await used_up()
        _, args, options = call
        return await send(*args, **options)

    between(stage, monkeypatch, overtaken)
    if not late:
        await used_up()
    result = await stage.apply(order)
    words = await refused(stage, result, ApplyOutcome.REFUSED, Reason.APPLY_REFUSED)
    assert "exceeded quota" in words
    assert "few" in words
    assert len((await stage.admin.list("Job", stage.space)).items) == jobs
    assert len(await stage.store.rows_of(stage.incident)) == (1 if late else 0)
    assert await stage.apply(order) == result or not late


@pytest.mark.parametrize(
    ("make", "verb", "permission"),
    [
        (scale, "patch", "patch deployments"),
        (the_job, "create", "create jobs"),
        (a_delete, "delete", "delete pods"),
        (an_eviction, "create", "create pods/eviction"),
    ],
)
async def test_a_permission_that_is_missing_only_when_it_counts_is_named(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, make: Maker, verb: str, permission: str
) -> None:
    """The dry run passed; the call itself comes from an identity that may not."""
    action = await make(stage)
    order = await stage.order(action)
    before = await everything(stage)
    uid = (await stage.live(action.target))["metadata"]["uid"]

    async def forbidden(call: Call, send: Callable[..., Awaitable[Any]]) -> Any:
        _, args, options = call
        return await getattr(stage.reader, verb)(*args, **options)

    between(stage, monkeypatch, forbidden)
    result = await stage.apply(order)
    words = await refused(stage, result, ApplyOutcome.REFUSED, Reason.APPLY_REFUSED)
    assert permission in words
    assert "(403)" in words
    assert await everything(stage) == before
    live = await stage.live(action.target)
    assert live["metadata"]["uid"] == uid
    assert "deletionTimestamp" not in live["metadata"]


async def test_an_edit_in_the_middle_of_an_undo_is_not_trampled(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the object and the patch that takes the change back."""
    applied = await stage.apply(await stage.order(await scale(stage)))

    async def overtaken(call: Call, send: Callable[..., Awaitable[Any]]) -> Any:
        await stage.edit({"spec": {"replicas": 4}})
        _, args, options = call
        return await send(*args, **options)

    between(stage, monkeypatch, overtaken)
    undone = await stage.compensate(applied.operation_id)
    assert (undone.done, undone.reason) == (False, Reason.COMPENSATION_FAILED)
    assert "not as the patch expects" in undone.detail
    assert undone.commands
    assert (await stage.live())["spec"]["replicas"] == 4
    last = (await stage.trail())[-1]
    assert (last.type, last.reason) == (AuditType.COMPENSATION_REFUSED, Reason.COMPENSATION_FAILED)


async def test_an_undo_whose_answer_is_lost_is_one_undo(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied = await stage.apply(await stage.order(await scale(stage)))

    async def hangs_after(call: Call, send: Callable[..., Awaitable[Any]]) -> Any:
        _, args, options = call
        await send(*args, **options)
        raise TemporaryError("no answer from the API server in time")

    calls = between(stage, monkeypatch, hangs_after)
    with pytest.raises(ApplicationError):
        await stage.compensate(applied.operation_id)
    generation = await stage.generation()
    undone = await stage.compensate(applied.operation_id)
    assert undone.done, undone.detail
    assert (len(calls), await stage.generation()) == (1, generation)
    assert (await stage.live())["spec"]["replicas"] == 0


async def away(database: Database, gone: bool) -> None:
    """Nobody gets to the database, and whoever was there is put out."""
    server = psycopg.conninfo.make_conninfo(database.plain_dsn, dbname="postgres")
    async with await psycopg.AsyncConnection.connect(server, autocommit=True) as connection:
        allowed = "false" if gone else "true"
        await connection.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS {allowed}'.encode())
        if gone:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database.name]
            )


async def test_a_database_lost_between_intent_and_change_means_no_change_until_it_is_back(
    simulated: Stage, migrated_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = simulated
    stage.activities = GuardedRemediation({stage.admin.name: stage.writer}, stage.store)
    order = await stage.order(await scale(stage))
    before = await stage.generation()
    intend = stage.store.intend

    async def then_lost(*args: Any) -> Any:
        row = await intend(*args)
        await away(migrated_database, True)
        return row

    monkeypatch.setattr(stage.store, "intend", then_lost)
    try:
        for _ in range(2):
            with pytest.raises(ApplicationError) as lost:
                await stage.apply(order)
            assert not lost.value.non_retryable
            assert await stage.generation() == before
    finally:
        await away(migrated_database, False)
    assert [row.state for row in await stage.store.rows_of(stage.incident)] == [LedgerState.INTENT]
    result = await stage.apply(order)
    assert result.outcome is ApplyOutcome.APPLIED, result.detail
    assert await stage.generation() == before + 1
    assert [e.type for e in await stage.trail()] == [AuditType.INTENT, AuditType.ACTION_EXECUTED]


async def test_a_database_lost_after_the_change_means_one_change_and_one_row(
    simulated: Stage, migrated_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = simulated
    stage.activities = GuardedRemediation({stage.admin.name: stage.writer}, stage.store)
    order = await stage.order(await scale(stage))
    before = await stage.generation()

    async def then_lost(call: Call, send: Callable[..., Awaitable[Any]]) -> Any:
        _, args, options = call
        answer = await send(*args, **options)
        await away(migrated_database, True)
        return answer

    calls = between(stage, monkeypatch, then_lost)
    try:
        with pytest.raises(ApplicationError) as lost:
            await stage.apply(order)
        assert not lost.value.non_retryable
    finally:
        await away(migrated_database, False)
    result = await stage.apply(order)
    assert result.outcome is ApplyOutcome.APPLIED, result.detail
    assert (len(calls), await stage.generation()) == (1, before + 1)
    assert [e.type for e in await stage.trail()] == [AuditType.INTENT, AuditType.ACTION_EXECUTED]


async def test_what_is_told_of_a_lost_secret_holds_none(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded = base64.b64encode(SECRET.encode()).decode()
    await stage.admin.create("Secret", stage.space, config("Secret", {"k": "bad"}, {"k": SECRET}))
    order = await stage.order(
        stage.action("patch_config", stage.ref("Secret", "settings"), key="k", source="last_applied")
    )

    async def quoted(call: Call, send: Callable[..., Awaitable[Any]]) -> Any:
        raise Conflict(f"the Secret says password={SECRET}")

    between(stage, monkeypatch, quoted)
    result = await stage.apply(order)
    assert await refused(stage, result, ApplyOutcome.CHANGED, Reason.OBJECT_CHANGED)
    said = result.model_dump_json() + await stage.said()
    assert SECRET not in said
    assert coded not in said


async def test_four_workers_whose_answers_are_all_lost_make_one_change(
    simulated: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = simulated
    order = await stage.order(await scale(stage))
    before = await stage.generation()

    async def hangs_after(call: Call, send: Callable[..., Awaitable[Any]]) -> Any:
        _, args, options = call
        await send(*args, **options)
        raise TemporaryError("no answer from the API server in time")

    between(stage, monkeypatch, hangs_after)
    for _ in range(2):
        found = await asyncio.gather(*(stage.apply(order) for _ in range(4)), return_exceptions=True)
        for one in found:
            assert isinstance(one, ApplyResult | ApplicationError | CortexError), one
    assert (await stage.apply(order)).outcome is ApplyOutcome.APPLIED
    assert await stage.generation() == before + 1
    assert [e.type for e in await stage.trail()].count(AuditType.ACTION_EXECUTED) == 1
