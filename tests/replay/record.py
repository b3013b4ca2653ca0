"""Record histories of finished incidents: `python -m tests.replay.record`.

Recorded histories are committed. They are made anew only when a change of behaviour is guarded by a named
patch, and then besides the old ones.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle

from cortexops.adapters.temporal import SEARCH_ATTRIBUTES
from cortexops.contracts.incident import ABSORB, ADD_SIGNALS, Absorption, IncidentLimits, SignalBatch
from cortexops.contracts.investigation import Investigated
from cortexops.contracts.remediation import ApplyOutcome
from cortexops.domain.approval import Decision
from cortexops.domain.diagnosis import Verdict
from cortexops.domain.links import LinkReason
from cortexops.domain.policy import Effect
from cortexops.domain.reasoning import Thought
from cortexops.domain.reasoning_use import Outcome
from cortexops.domain.verification import Phase
from sandbox.engines.engines import Engines
from tests.model.world import WITH_MODEL, thinking_diagnosis
from tests.support.stage import Stage, cast, staged
from tests.support.story import a_candidate, a_decision, a_diagnosis, a_signal, resolved

FOLDER = Path(__file__).parent / "histories"
Handle = WorkflowHandle[Any, Any]


async def resolved_after_approval(stage: Stage) -> Handle:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL, quorum=2)]
    handle = await stage.begin()
    request = await stage.asked(handle)
    await cast(handle, request, "ana")
    await cast(handle, request, "bob")
    return handle


async def over_before_apply(stage: Stage) -> Handle:
    """The last approval and the end of all signals arrive at once, while the first vote is written down."""
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL, quorum=2)]
    stage.world.gates["record_vote"] = asyncio.Event()
    handle = await stage.begin()
    request = await stage.asked(handle)
    votes = [asyncio.create_task(cast(handle, request, "ana"))]
    while not stage.world.voted:
        await asyncio.sleep(0.02)
    votes.append(asyncio.create_task(cast(handle, request, "bob")))
    await handle.signal(ADD_SIGNALS, SignalBatch(signals=(resolved(a_signal()),)))
    await asyncio.sleep(0.5)  # until the server has bob's as well
    stage.world.gates["record_vote"].set()
    await asyncio.gather(*votes)
    return handle


async def vote_written_first(stage: Stage) -> Handle:
    """The only approval needed is slow to be written down; the change is made after that."""
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    stage.world.gates["record_vote"] = asyncio.Event()
    handle = await stage.begin()
    vote = asyncio.create_task(cast(handle, await stage.asked(handle), "ana"))
    while not stage.world.voted:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    stage.world.gates["record_vote"].set()
    await vote
    return handle


async def asked_again(stage: Stage) -> Handle:
    """Policy does not stand by what people agreed to; they agree once more."""
    again = a_decision(Effect.REQUIRE_APPROVAL, revision="r2")
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL), again, again]
    handle = await stage.begin()
    first = await stage.asked(handle)
    await cast(handle, first, "ana")
    while len(stage.world.asked) < 2:
        await asyncio.sleep(0.02)
    await cast(handle, stage.world.asked[1].request, "ana")
    return handle


async def denied_by_people(stage: Stage) -> Handle:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    handle = await stage.begin()
    await cast(handle, await stage.asked(handle), "ana", Decision.DENY)
    return handle


async def expired(stage: Stage) -> Handle:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    return await stage.begin(limits=IncidentLimits(approval_seconds=0.3))


async def denied_by_policy(stage: Stage) -> Handle:
    stage.world.decisions = [a_decision(Effect.DENY)]
    return await stage.begin()


async def second_remedy_helps(stage: Stage) -> Handle:
    both = (a_candidate("adjust_resources"), a_candidate("rollback_rollout", to_revision=3))
    stage.world.investigations = [Investigated(diagnosis=a_diagnosis(), candidates=both)]
    stage.world.verifications = [Phase.FAILED, Phase.SUCCESSFUL]
    return await stage.begin()


async def rolled_back(stage: Stage) -> Handle:
    stage.world.verifications = [Phase.INCONCLUSIVE]
    return await stage.begin()


async def failure_remembered(stage: Stage) -> Handle:
    """As `rolled_back`, since what did not help is remembered as well."""
    return await rolled_back(stage)


async def case_with_the_end(stage: Stage) -> Handle:
    """As `resolved_after_approval`, with all that `Patch` names."""
    return await resolved_after_approval(stage)


async def held_at_policy(stage: Stage) -> Handle:
    """Its turn comes later: others of its namespace are being mended."""
    waits = a_decision(Effect.ALLOW, held_until=datetime.now(UTC) + timedelta(seconds=1))
    stage.world.decisions = [waits, a_decision(Effect.ALLOW)]
    return await stage.begin()


async def object_changed(stage: Stage) -> Handle:
    stage.world.applies = [ApplyOutcome.CHANGED, ApplyOutcome.APPLIED]
    return await stage.begin()


async def absorbed(stage: Stage) -> Handle:
    stage.world.decisions = [a_decision(Effect.REQUIRE_APPROVAL)]
    handle = await stage.begin()
    await stage.asked(handle)
    into = Absorption(into_key="incident:test::Node:n1", reason=LinkReason.SAME_NODE)
    await handle.signal(ABSORB, into)
    return handle


async def held_then_free(stage: Stage) -> Handle:
    stage.world.born = {"held_until": datetime.now(UTC) + timedelta(seconds=1)}
    return await stage.begin()


async def silenced(stage: Stage) -> Handle:
    stage.world.born = {"held_until": datetime.now(UTC) + timedelta(hours=1)}
    handle = await stage.begin()
    await handle.signal(ADD_SIGNALS, SignalBatch(signals=(resolved(a_signal()),)))
    return handle


async def flapping(stage: Stage) -> Handle:
    stage.world.born = {"flapping": True}
    return await stage.begin()


async def cause_outside(stage: Stage) -> Handle:
    stage.world.investigations = [Investigated(diagnosis=a_diagnosis(Verdict.EXTERNAL))]
    return await stage.begin()


async def reasoned(stage: Stage) -> Handle:
    """A model helps; its endpoint is busy once and its first answer is prose."""
    stage.world.investigations = [Investigated(diagnosis=thinking_diagnosis(), candidates=(a_candidate(),))]
    stage.world.thoughts = [
        Thought(outcome=Outcome.RATE_LIMITED, retry_after=0.2),
        Thought(outcome=Outcome.INVALID, detail="prose"),
    ]
    return await stage.begin(limits=WITH_MODEL)


async def model_fails(stage: Stage) -> Handle:
    """Its endpoint is away for good: the incident goes on as without."""
    stage.world.investigations = [Investigated(diagnosis=thinking_diagnosis(), candidates=(a_candidate(),))]
    stage.world.thoughts = [Thought(outcome=Outcome.UNAVAILABLE, retry_after=0.1)] * 3
    return await stage.begin(limits=WITH_MODEL)


STORIES: dict[str, Callable[[Stage], Awaitable[Handle]]] = {
    story.__name__: story
    for story in (
        resolved_after_approval,
        over_before_apply,
        vote_written_first,
        asked_again,
        denied_by_people,
        expired,
        denied_by_policy,
        second_remedy_helps,
        rolled_back,
        failure_remembered,
        case_with_the_end,
        held_at_policy,
        object_changed,
        cause_outside,
        absorbed,
        held_then_free,
        silenced,
        flapping,
        reasoned,
        model_fails,
    )
}


async def record() -> None:
    """Play every story that has no history yet on a server of its own and write it."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cortexops-record-") as folder:
        Path(folder).chmod(0o755)
        async with Engines(Path(folder), persist=False, search_attributes=SEARCH_ATTRIBUTES) as engines:
            for name, story in STORIES.items():
                if (FOLDER / f"{name}.json").exists():
                    continue
                async with staged(engines.temporal_address, f"{name}-") as stage:
                    handle = await story(stage)
                    await handle.result()
                    history = await handle.fetch_history()
                    text = re.sub(r'"identity": "[^"]*"', '"identity": "recorder"', history.to_json())
                    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(record())
