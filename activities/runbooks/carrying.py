"""Carrying out a runbook's steps in order, within a budget. Every step ends with a status and a reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import NamedTuple

from activities.runbooks.asking import Answer, Asker, Unanswered, field_of
from activities.runbooks.offering import Offerer
from cortexops.domain.action import Candidate
from cortexops.domain.redaction import redact
from cortexops.domain.runbook import (
    ActionStep,
    CheckStep,
    Claim,
    NoteStep,
    OnFailure,
    Origin,
    Runbook,
    Step,
    WaitStep,
)
from cortexops.domain.runbook_condition import NotComparable, holds, worded
from cortexops.domain.runbook_feed import Fact, Said
from cortexops.domain.runbook_run import RunbookRun, StepKind, StepReason, StepRun, StepStatus
from cortexops.domain.runbook_template import Missing, Scalar, as_text, wording

_BETWEEN_LOOKS = 2.0  # seconds
_LONGEST_DETAIL = 400  # characters


class Carried(NamedTuple):
    """The run, what its checks saw and said, and the actions that it asks for."""

    run: RunbookRun
    facts: tuple[Fact, ...] = ()
    said: tuple[Said, ...] = ()
    candidates: tuple[Candidate, ...] = ()


class Carrying:
    """One runbook in one incident. `allowed` are the actions that a fetched runbook may ask for."""

    def __init__(
        self,
        runbook: Runbook,
        asker: Asker,
        offerer: Offerer,
        values: dict[str, Scalar],
        *,
        allowed: Collection[str],
    ) -> None:
        self._runbook = runbook
        self._asker = asker
        self._offerer = offerer
        self._values = dict(values)
        self._allowed = allowed
        self._facts: list[Fact] = []
        self._said: list[Said] = []
        self._candidates: list[Candidate] = []

    async def all(self, seconds: float) -> Carried:
        """Every step, in at most so many seconds. Never raises for what the cluster does."""
        began = time.monotonic()
        steps: list[StepRun] = []
        stopped = ""
        for step in self._runbook.steps:
            left = seconds - (time.monotonic() - began)
            if stopped:
                steps.append(_ended(step, StepStatus.SKIPPED, StepReason.STOPPED, f"step {stopped} failed"))
            elif left <= 0:
                steps.append(_ended(step, StepStatus.SKIPPED, StepReason.OUT_OF_TIME, "the time is used up"))
            else:
                steps.append(await self._timed(step, left))
                if steps[-1].status is StepStatus.FAILED and step.on_failure is OnFailure.STOP:
                    stopped = step.id
        run = RunbookRun(
            id=self._runbook.id,
            version=self._runbook.version,
            title=self._runbook.title,
            origin=self._runbook.origin.value,
            source=self._runbook.source if self._runbook.origin is Origin.URL else "",
            steps=tuple(steps),
            seconds=round(time.monotonic() - began, 3),
        )
        return Carried(run, tuple(self._facts), tuple(self._said), tuple(self._candidates))

    async def _timed(self, step: Step, left: float) -> StepRun:
        began = time.monotonic()
        try:
            async with asyncio.timeout(left):
                done = await self._one(step, left)
        except TimeoutError:
            done = _ended(step, StepStatus.FAILED, StepReason.OUT_OF_TIME, "no answer came in time")
        except Unanswered as error:
            done = _ended(step, error.status, error.reason, error.detail)
        except Missing as error:
            done = _ended(step, StepStatus.SKIPPED, StepReason.VALUE_MISSING, str(error))
        except NotComparable as error:
            done = _ended(step, StepStatus.FAILED, StepReason.NOT_COMPARABLE, str(error))
        return done.model_copy(update={"seconds": round(time.monotonic() - began, 3)})

    async def _one(self, step: Step, left: float) -> StepRun:
        for name, expect in step.preflight.items():
            value = self._values.get(name)
            if not holds(expect, value, self._values):
                found = "not known" if value is None else as_text(value)
                detail = f"{name} is {found}, expected {worded(expect, self._values)}"
                return _ended(step, StepStatus.SKIPPED, StepReason.PREFLIGHT, detail)
        if isinstance(step, NoteStep):
            return _ended(step, StepStatus.COMPLETED, StepReason.TOLD, wording(step.text, self._values))
        if isinstance(step, ActionStep):
            return await self._action(step)
        return await self._check(step, left)

    # -- checks ------------------------------------------------------------------------------------

    async def _check(self, step: CheckStep, left: float) -> StepRun:
        answer = await self._asker.ask(step, self._values)
        met = step.expect is None or holds(step.expect, answer.value, self._values)
        if isinstance(step, WaitStep) and not met:
            answer, met = await self._awaited(step, answer, min(left, step.seconds))
        outputs = self._provided(step, answer)
        self._values |= outputs
        found = "absent" if answer.value is None else as_text(answer.value)
        wanted = f", expected {worded(step.expect, self._values)}" if step.expect else ""
        detail = f"{answer.asked} is {found}{wanted}"
        if answer.value is None and step.expect is None:
            return _ended(step, StepStatus.FAILED, StepReason.NO_DATA, detail, outputs)
        self._cite(step, answer, detail, met)
        if not met:
            reason = StepReason.NO_DATA if answer.value is None else StepReason.NOT_AS_EXPECTED
            return _ended(step, StepStatus.FAILED, reason, detail, outputs)
        reason = StepReason.AS_EXPECTED if step.expect else StepReason.READ
        return _ended(step, StepStatus.COMPLETED, reason, detail, outputs)

    async def _awaited(self, step: WaitStep, answer: Answer, seconds: float) -> tuple[Answer, bool]:
        """Look again until it is so or the time is over; a look that fails is no answer, not the end."""
        assert step.expect is not None
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            await asyncio.sleep(min(_BETWEEN_LOOKS, left))
            try:
                answer = await self._asker.ask(step, self._values, fresh=True)
            except Unanswered:
                continue
            if holds(step.expect, answer.value, self._values):
                return answer, True
        return answer, False

    def _provided(self, step: CheckStep, answer: Answer) -> dict[str, Scalar]:
        found: dict[str, Scalar] = {}
        if step.output is not None and answer.value is not None:
            found[step.output] = answer.value
        for name, pointer in step.outputs.items():
            value = field_of(answer.source, pointer) if answer.source is not None else None
            if value is not None:
                found[name] = value
        return found

    def _cite(self, step: CheckStep, answer: Answer, detail: str, met: bool) -> None:
        summary = f"runbook {self._runbook.id}, {step.title}: {detail}"
        self._facts.append(Fact(step.id, answer.kind, answer.about, summary, answer.command))
        if self._runbook.origin is Origin.URL or answer.value is None or step.expect is None:
            return  # what was fetched is evidence to read, and moves no ranking; nor does what is not there
        for claim, supports in ((step.supports, True), (step.counters, False)):
            if claim is not None and (claim.when == "completed") is met:
                self._say(step, claim, supports)

    def _say(self, step: CheckStep, claim: Claim, supports: bool) -> None:
        try:
            about = self._asker.ref(claim.kind, claim.namespace, claim.name, self._values)
        except (Missing, Unanswered):
            return
        self._said.append(Said(step.id, step.title, claim.category, about, supports))

    # -- actions -----------------------------------------------------------------------------------

    async def _action(self, step: ActionStep) -> StepRun:
        if self._runbook.origin is Origin.URL and step.action not in self._allowed:
            detail = f"{step.action} is not in runbooks.fetched_actions, and this runbook was fetched"
            return _ended(step, StepStatus.SKIPPED, StepReason.NOT_ALLOWED, detail)
        because = f"runbook {self._runbook.id} {self._runbook.version}, step {step.id}"
        candidate = await self._offerer.offer(step, self._values, because)
        self._candidates.append(candidate)
        if not candidate.feasible:
            return _ended(step, StepStatus.SKIPPED, StepReason.INFEASIBLE, candidate.why)
        offered = _ended(step, StepStatus.PENDING, StepReason.OFFERED, str(candidate.action))
        return offered.model_copy(update={"action": candidate.action.hash})


def _ended(
    step: Step, status: StepStatus, reason: StepReason, detail: str, outputs: dict[str, Scalar] | None = None
) -> StepRun:
    return StepRun(
        id=step.id,
        title=step.title,
        kind=StepKind(step.kind),
        status=status,
        reason=reason,
        detail=redact(detail).text[: 2000 if step.kind == "note" else _LONGEST_DETAIL],
        outputs=outputs or {},
    )
