"""Rego without a server: a child process evaluates, and is killed when it takes too long."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import Any

from cortexops.adapters.policy_bundle import Bundle, child_command, explain, sample_question
from cortexops.domain.policy import QUERY, PolicyDecision, PolicyInput, denied, read_decision
from cortexops.telemetry import get_logger

_LONGEST_ANSWER = 1 << 20  # bytes on one line
_log = get_logger(__name__)


class _NoAnswerError(Exception):
    """The child complained or died; the text says why."""


class _ChildDiedError(_NoAnswerError):
    """There was no answer because there is no child any more."""


class RegorusPolicy:
    """`PolicyEngine` over regorus. Use it from one event loop; questions are answered one after the other."""

    name = "regorus"

    def __init__(self, bundle: Bundle, *, timeout_seconds: float = 5.0) -> None:
        self._bundle = bundle
        self._timeout = timeout_seconds
        self._lock = asyncio.Lock()
        self._child: Process | None = None

    @property
    def revision(self) -> str:
        return self._bundle.revision

    async def evaluate(self, question: PolicyInput) -> PolicyDecision:
        """Ask. An error is `policy_error`, no answer in time `policy_timeout`; both are denials."""
        try:
            answer = await self._ask(question.document())
        except TimeoutError:
            return self._denied("policy_timeout", f"no answer in {self._timeout:g} s")
        except (_NoAnswerError, OSError, ValueError) as error:
            return self._denied("policy_error", str(error))
        return read_decision(answer, revision=self.revision, engine=self.name)

    async def health(self) -> str | None:
        try:
            answer = await self._ask(sample_question())
        except TimeoutError:
            return f"no answer in {self._timeout:g} s"
        except (_NoAnswerError, OSError, ValueError) as error:
            return str(error)
        return None if answer is not None else f"{QUERY} is undefined"

    async def close(self) -> None:
        async with self._lock:
            await self._end()

    def _denied(self, reason: str, why: str) -> PolicyDecision:
        _log.error("policy denied because it could not be asked", reason=reason, why=why)
        return denied(reason, revision=self.revision, engine=self.name)

    async def _ask(self, document: dict[str, Any]) -> object:
        line = json.dumps({"rule": QUERY, "input": document}, allow_nan=False)
        async with asyncio.timeout(self._timeout), self._lock:
            answered = False
            try:
                answer = await self._exchange_again(line)
                answered = True
            finally:
                if not answered:  # also when cancelled: a late answer must never meet the next question
                    await self._end()
        if "error" in answer:
            raise _NoAnswerError(explain(answer["error"]))
        return answer.get("value")

    async def _exchange_again(self, line: str) -> dict[str, Any]:
        """A child that served before may have been killed by the system: one more try, on a new one."""
        served_before = self._child is not None
        try:
            return await self._exchange(await self._running(), line)
        except (_ChildDiedError, ConnectionError):
            if not served_before:
                raise
            await self._end()
            return await self._exchange(await self._running(), line)

    async def _running(self) -> Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        await self._end()
        self._child = await asyncio.create_subprocess_exec(
            *child_command(), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=_LONGEST_ANSWER
        )
        bundle = json.dumps({"modules": self._bundle.modules, "data": self._bundle.data})
        answer = await self._exchange(self._child, bundle)
        if "error" in answer:
            raise _NoAnswerError(explain(answer["error"]))
        return self._child

    @staticmethod
    async def _exchange(child: Process, line: str) -> dict[str, Any]:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(line.encode() + b"\n")
        await child.stdin.drain()
        said = await child.stdout.readline()
        if not said:
            raise _ChildDiedError(f"the evaluating process ended with code {await child.wait()}")
        answer: dict[str, Any] = json.loads(said)
        return answer

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.returncode is None:
            child.kill()
        if child.stdin is not None:
            child.stdin.close()
        await child.wait()
