"""What comes from outside and changes an incident's course: absorption, and the end of a silence."""

from __future__ import annotations

from cortexops.contracts.incident import Absorption


class Interrupted(Exception):
    """The incident is part of another: nothing more is begun."""


class Interruption:
    """Remembers what has come until somebody looks."""

    def __init__(self) -> None:
        self.absorption: Absorption | None = None
        self._look_again = False

    def absorb(self, absorption: Absorption) -> None:
        """The first that claims the incident has it."""
        self.absorption = self.absorption or absorption

    def look_again(self) -> None:
        self._look_again = True

    @property
    def absorbed(self) -> bool:
        return self.absorption is not None

    @property
    def wakes(self) -> bool:
        """Whether a held incident has reason to look before its time."""
        return self.absorbed or self._look_again

    def check(self) -> None:
        """Before each step. Raises `Interrupted` once the incident is part of another."""
        self._look_again = False
        if self.absorbed:
            raise Interrupted
