"""Where runbooks come from."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from cortexops.domain.runbook import Problem, Runbook


class Shelf(NamedTuple):
    """The runbooks that can be used, and what is wrong with the others. One bad file disables no other."""

    runbooks: tuple[Runbook, ...] = ()
    problems: tuple[Problem, ...] = ()


class Fetched(NamedTuple):
    """The runbook at an address, or why there is none."""

    runbook: Runbook | None = None
    problems: tuple[Problem, ...] = ()


class RunbookSource(Protocol):
    """Runbooks at an address: text of others, checked like a file and allowed to do less."""

    def address(self, values: dict[str, str]) -> str:
        """The address of these values (`alertname`, `namespace` …); empty when there is none for them."""
        ...

    def may_fetch(self, address: str) -> bool:
        """Whether the settings name its host. An address from an alert is else only shown."""
        ...

    async def fetch(self, address: str) -> Fetched:
        """Read it within a few seconds. Never raises for what the other side does."""
        ...
