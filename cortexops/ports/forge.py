"""A place where changes are proposed instead of made: a git repository and whoever takes pull requests."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol

from cortexops.domain.change import DiffLine
from cortexops.domain.manifest import Fate, Proposal

__all__ = ["Fate", "Forge", "Found", "Previewed"]


class Found(NamedTuple):
    """A proposal as it stands: where people see it (`url`), and the commit that carries it."""

    fate: Fate
    url: str = ""
    commit: str = ""


class Previewed(NamedTuple):
    """The lines of the file that would change: as they are, for an approval to be bound to, and `shown` with
    secret values masked, for everybody to read."""

    bare: tuple[DiffLine, ...]
    shown: tuple[DiffLine, ...]


class Forge(Protocol):
    """Every method raises `Rejected` when the object is in no repository or cannot be edited there, `Forbidden`
    when the token does not suffice, and `TemporaryError` when git or the provider cannot be reached."""

    def covers(self, proposal: Proposal) -> bool:
        """Whether a repository is configured for the object."""
        ...

    async def preview(self, proposal: Proposal) -> Previewed:
        """What would change in which file. Nothing is written."""
        ...

    async def look(self, operation: str, proposal: Proposal) -> Found:
        """Whether this operation's proposal is there already, and what became of it."""
        ...

    async def fate(self, operation: str, proposal: Proposal) -> Found:
        """What became of a proposal that was made. It counts as merged also where the files say by now what it
        proposed, however that came about. `url` names the branch where there is no pull request."""
        ...

    async def propose(
        self, operation: str, proposal: Proposal, *, title: str, body: str, at: datetime
    ) -> Found:
        """Make branch, commit and pull request, each only if it is not there yet."""
        ...

    async def withdraw(self, operation: str, proposal: Proposal) -> Found:
        """Close the pull request and delete the branch, if both are still ours; what was found before."""
        ...
