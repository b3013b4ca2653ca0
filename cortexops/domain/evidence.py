"""Evidence: facts with provenance. A claim without an evidence id is not made."""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime

from cortexops.domain.known_secrets import KnownSecrets
from cortexops.domain.outgoing import Count, Destination, outgoing
from cortexops.domain.resource import Frozen, ResourceRef

_LONGEST_SUMMARY = 500  # characters
_LONGEST_EXCERPT = 1500  # characters; excerpts are for people to recognise, the object is there to be read


class EvidenceKind(StrEnum):
    EVENT = "event"
    STATUS = "status"
    LOG = "log"
    CONFIG = "config"
    CHANGE = "change"
    METRIC = "metric"
    TOPOLOGY = "topology"


class Evidence(Frozen):
    """One fact: where it was seen, when it was true, what it says and how to see it again."""

    id: str
    kind: EvidenceKind
    resource: ResourceRef
    at: AwareDatetime | None = None
    summary: str
    excerpt: str = ""
    command: str = ""
    """The kubectl command that shows it."""


class GapReason(StrEnum):
    """Why something is missing. No data and no answer are not the same."""

    NO_DATA = "no_data"
    FORBIDDEN = "forbidden"
    ERROR = "error"
    CUT = "cut"


class Gap(Frozen):
    """Something that was looked for and not obtained; `what` names verb and resource."""

    reason: GapReason
    what: str
    detail: str = ""


class EvidenceBook:
    """Gives each distinct fact one id (`e1`, `e2`, …) in the order in which facts are cited.

    `known` are secrets that were read or seen; `count` is told of what was masked.
    """

    def __init__(self, known: KnownSecrets | None = None, count: Count | None = None) -> None:
        self._known = known
        self._count = count
        self._by_fact: dict[tuple[EvidenceKind, ResourceRef, str], Evidence] = {}

    def cite(
        self,
        kind: EvidenceKind,
        resource: ResourceRef,
        summary: str,
        *,
        at: AwareDatetime | None = None,
        excerpt: str = "",
        command: str = "",
    ) -> str:
        """Record the fact unless it is there already; returns its id. Secrets in it are masked.

        Raises `Withheld` when that fails."""
        summary = self.masked(summary[: 4 * _LONGEST_SUMMARY])[:_LONGEST_SUMMARY]
        fact = (kind, resource, summary)
        if fact not in self._by_fact:
            self._by_fact[fact] = Evidence(
                id=f"e{len(self._by_fact) + 1}",
                kind=kind,
                resource=resource,
                at=at,
                summary=summary,
                excerpt=self.masked(excerpt[: 4 * _LONGEST_EXCERPT])[:_LONGEST_EXCERPT],
                command=self.masked(command),
            )
        return self._by_fact[fact].id

    def masked(self, text: str) -> str:
        """The text as a fact may say it. Raises `Withheld`."""
        return outgoing(text, Destination.REPORT, count=self._count, known=self._known)

    @property
    def entries(self) -> list[Evidence]:
        return list(self._by_fact.values())
