"""Sweeping up after workflows that were terminated, anchoring and archiving the audit trail: who is asked for
what."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum

from pydantic import Field
from temporalio import activity

from cortexops.domain.resource import Frozen
from cortexops.domain.sweep import Outcome, RunState

SWEEP_WORKFLOW = "SweepWorkflow"
ANCHOR_WORKFLOW = "AnchorWorkflow"
ARCHIVE_WORKFLOW = "ArchiveWorkflow"


class SweepQueue(StrEnum):
    """Two queues, two identities: the one that keeps the books, and the one that may change clusters."""

    BOOKS = "sweeping"
    CLUSTERS = "sweeping-clusters"


class Orphan(Frozen):
    """An incident that no workflow works on, with something left: to close, to settle, or both."""

    incident_id: str
    run: RunState
    quiet: bool
    """No request of the workflow to a cluster can be under way any more."""
    rows: int = 0
    """Changes to look at."""


class Orphans(Frozen):
    """What a look at all of them found; `looked` is how many workflows were asked for."""

    looked: int
    found: tuple[Orphan, ...] = ()


class Settled(Frozen):
    """What became of the changes of one orphan, in the order in which they were made."""

    outcomes: tuple[Outcome, ...] = ()
    details: tuple[str, ...] = ()
    """The same in words; what could not be asked says why."""


class ClosedOrphan(Frozen):
    """`closed`: it was open until now. `void`: approvals that wait for nobody any more."""

    closed: bool
    void: tuple[str, ...] = ()


class SweepReport(Frozen):
    """One sweep: `outcomes` counts changes by what was found."""

    looked: int = 0
    orphans: tuple[str, ...] = ()
    closed: int = 0
    outcomes: dict[str, int] = Field(default_factory=dict)


class AnchorReport(Frozen):
    """Days that were anchored, and the newest anchor there is, as `DAY:HASH`."""

    days: tuple[str, ...] = ()
    newest: str = ""


class ArchiveReport(Frozen):
    """Archives that were written, and how many rows of how many incidents are in them."""

    archives: tuple[str, ...] = ()
    rows: int = 0
    incidents: int = 0


class Sweeping(ABC):
    """The side of the books. Touches no cluster."""

    @activity.defn
    @abstractmethod
    async def find_orphans(self) -> Orphans:
        """Incidents with something left to do whose workflow does not run, as Temporal itself says."""

    @activity.defn
    @abstractmethod
    async def close_orphan(self, orphan: Orphan) -> ClosedOrphan:
        """End the incident as ESCALATED, void what waits for approval, tell people. Repeatable."""

    @activity.defn
    @abstractmethod
    async def anchor_audit(self) -> AnchorReport:
        """Write the anchors of all days that have ended without one. Repeatable."""

    @activity.defn
    @abstractmethod
    async def archive_audit(self) -> ArchiveReport:
        """Move the rows of incidents that ended long ago into archives, as the settings say. Repeatable."""


class ClusterSweeping(ABC):
    """The side of the clusters."""

    @activity.defn
    @abstractmethod
    async def settle_orphan(self, orphan: Orphan) -> Settled:
        """Look at the object of each unfinished change and mark the ledger. Repeatable."""
