"""What a diagnosis says of the past: earlier incidents like it, and how people's words moved its ranking."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from cortexops.domain.resource import Frozen, ResourceRef


class Fingerprint(Frozen):
    """How the alerting object is made, as far as it was seen: what makes two incidents comparable.

    `images` are digests (or references, where no pod tells a digest) by container. `configs` are hashes of
    the ConfigMaps and Secrets that the pods use, by `Kind/name`; no value can be read from them.
    """

    kind: str = ""
    owner_kind: str = ""
    stateful: bool = False
    containers: int = 0
    init_containers: int = 0
    replicas: int = 0
    kinds: tuple[str, ...] = ()
    images: dict[str, str] = Field(default_factory=dict)
    configs: dict[str, str] = Field(default_factory=dict)

    @property
    def shape(self) -> str:
        """`Deployment`, `StatefulSet with volumes`: the coarse likeness that learning goes by."""
        return f"{self.owner_kind or self.kind}{' with volumes' if self.stateful else ''}"


class Tried(Frozen):
    """One action that was tried in an incident, and what came of it."""

    action: str
    action_type: str
    result: str
    """`verified`, `compensated`, `refused` … as the ledger has it."""

    @property
    def worked(self) -> bool:
        return self.result == "verified"


class Precedent(Frozen):
    """An earlier incident that looks like this one. `weight` orders, it is no probability.

    `likeness` (0–1) is how much it looks like this one, `why` says what its weight is made of.
    """

    incident_id: str
    at: AwareDatetime
    outcome: str
    category: str
    resource: str
    worked: str = ""
    did_not: tuple[str, ...] = ()
    runbook: str = ""
    likeness: float = Field(ge=0, le=1)
    weight: float = Field(ge=0, le=1)
    why: tuple[str, ...] = ()

    def __str__(self) -> str:
        done = f"{self.worked} worked" if self.worked else f"ended {self.outcome}, nothing is known to work"
        if self.worked and self.outcome == "CONTAINED":
            done = f"{self.worked} contained it"
        failed = f"; did not help: {', '.join(self.did_not)}" if self.did_not else ""
        return (
            f"{self.incident_id} ({self.at:%Y-%m-%d}, {self.resource}): {done}{failed}; "
            f"likeness {self.likeness:.2f}, weight {self.weight:.2f} ({', '.join(self.why)})"
        )


class Moved(Frozen):
    """A hypothesis whose standing people's words changed, and by which incidents' words."""

    resource: ResourceRef
    category: str
    by: float
    """Added to the confidence."""
    last: bool = False
    """Whether it may lead no more while there is another hypothesis."""
    incidents: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        sign = "−" if self.by < 0 else "+"
        told = ", ".join(self.incidents[:3]) + (" …" if len(self.incidents) > 3 else "")
        rest = "; it does not lead" if self.last else ""
        return (
            f"{self.category} on {self.resource} moved by feedback of {told}: {sign}{abs(self.by):.2f}{rest}"
        )
