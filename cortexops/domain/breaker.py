"""A circuit breaker for one provider: a pure state machine, the time (seconds, any clock) is passed in.

closed -> open after `failures` failures in a row -> half-open after `open_seconds`, when a single probe is
let through -> closed when the probe succeeds, open again when it fails. A probe whose end is never told
(its process died) does not block for ever: after another `open_seconds` the next one is let through.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker(NamedTuple):
    """The state of one provider. Every step returns the next one."""

    failures: int = 5
    open_seconds: float = 30.0
    state: BreakerState = BreakerState.CLOSED
    failed: int = 0
    since: float = 0.0

    def ask(self, now: float) -> tuple[bool, Breaker]:
        """Whether a call may go out now, and the state after the question."""
        if self.state is BreakerState.CLOSED:
            return True, self
        if now - self.since >= self.open_seconds:
            return True, self._replace(state=BreakerState.HALF_OPEN, since=now)
        return False, self

    def succeeded(self) -> Breaker:
        """A call was answered: whatever the state, the provider works."""
        return self._replace(state=BreakerState.CLOSED, failed=0)

    def failed_at(self, now: float) -> Breaker:
        """A call failed. A failed probe opens at once; stragglers of before do not prolong an open state."""
        if self.state is BreakerState.OPEN:
            return self
        failed = self.failed + 1
        if self.state is BreakerState.HALF_OPEN or failed >= self.failures:
            return self._replace(state=BreakerState.OPEN, failed=failed, since=now)
        return self._replace(failed=failed)

    def gave_up(self) -> Breaker:
        """A call that was let through told nothing of the provider: another may probe at once."""
        if self.state is BreakerState.HALF_OPEN:
            return self._replace(state=BreakerState.OPEN, since=self.since - self.open_seconds)
        return self


class Breakers:
    """One breaker for each provider (address and model), so that one's failure never closes off another."""

    def __init__(self, *, failures: int = 5, open_seconds: float = 30.0) -> None:
        self._fresh = Breaker(failures=failures, open_seconds=open_seconds)
        self._of: dict[str, Breaker] = {}

    def may_call(self, provider: str, now: float) -> bool:
        allowed, self._of[provider] = self.of(provider).ask(now)
        return allowed

    def succeeded(self, provider: str) -> None:
        self._of[provider] = self.of(provider).succeeded()

    def failed(self, provider: str, now: float) -> None:
        self._of[provider] = self.of(provider).failed_at(now)

    def gave_up(self, provider: str) -> None:
        self._of[provider] = self.of(provider).gave_up()

    def of(self, provider: str) -> Breaker:
        return self._of.get(provider, self._fresh)
