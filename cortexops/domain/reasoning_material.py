"""What a model gets to see beyond the evidence that rules cite: the ends of logs, warnings, measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.evidence import Evidence, EvidenceKind
from cortexops.domain.kubernetes import commands
from cortexops.domain.outgoing import Destination, outgoing
from cortexops.domain.reasoning import Brief
from cortexops.domain.reasoning_requests import MOST_OBJECTS
from cortexops.domain.resource import ResourceRef
from cortexops.domain.scene import EventFact, LogExcerpt, Scene
from cortexops.domain.signal import Signal

_MOST_LOGS = 4
_MOST_EVENTS = 12
_TAIL = 1400  # characters of a log's end
_LONGEST_MESSAGE = 400  # characters
_MOST_ALERTS = 10
_LONGEST_ALERT = 300  # characters


def _mask(text: str) -> str:
    return outgoing(text, Destination.PROMPT)


class Further:
    """Gives new evidence the ids that follow those in use."""

    def __init__(
        self, taken: Iterable[str], known: Sequence[Evidence] = (), mask: Callable[[str], str] = _mask
    ) -> None:
        """`taken` are ids in use, `known` facts that are not told twice; `mask` takes secrets out."""
        self._mask = mask
        numbers = [int(id[1:]) for id in taken if id[1:].isdecimal()]
        self._next = max(numbers, default=0) + 1
        self._seen = {(fact.kind, fact.resource, fact.summary) for fact in known}
        self.entries: list[Evidence] = []

    def add(
        self,
        kind: EvidenceKind,
        resource: ResourceRef,
        summary: str,
        *,
        excerpt: str = "",
        command: str = "",
        at: datetime | None = None,
    ) -> bool:
        """Record the fact, masked, unless it is known; whether it was new."""
        summary = self._mask(summary)[:_LONGEST_MESSAGE]
        if (kind, resource, summary) in self._seen:
            return False
        self._seen.add((kind, resource, summary))
        self.entries.append(
            Evidence(
                id=f"e{self._next}",
                kind=kind,
                resource=resource,
                at=at,
                summary=summary,
                excerpt=self._mask(excerpt)[-_TAIL:],
                command=command,
            )
        )
        self._next += 1
        return True

    def log(self, found: LogExcerpt, lines: int = 40) -> bool:
        run = "the run that ended" if found.previous else "the present run"
        what = f"last lines of container {found.container} of {found.pod} ({run})"
        return self.add(
            EvidenceKind.LOG,
            found.pod,
            what,
            excerpt="\n".join(found.lines[-lines:]),
            command=commands.logs(found.pod, found.container, previous=found.previous),
        )

    def event(self, found: EventFact) -> bool:
        times = f" ({found.count} times)" if found.count > 1 else ""
        return self.add(
            EvidenceKind.EVENT,
            found.about,
            f"event {found.reason} of {found.about}: {found.message}{times}",
            at=found.last,
            command=commands.describe(found.about),
        )


def material(scene: Scene, diagnosis: Diagnosis) -> tuple[Evidence, ...]:
    """Logs and warnings of the scene that no rule has cited."""
    further = Further((fact.id for fact in diagnosis.evidence), diagnosis.evidence)
    nearest = scene.topology.distances(scene.target)
    quoted = {fact.resource for fact in diagnosis.evidence if fact.kind is EvidenceKind.LOG}
    logs = sorted(
        (log for log in scene.logs if log.lines),
        key=lambda log: (log.pod in quoted, nearest.get(log.pod, 99), not log.previous, log.pod.key),
    )
    for log in logs[:_MOST_LOGS]:
        further.log(log)
    cited = [fact.summary for fact in diagnosis.evidence if fact.kind is EvidenceKind.EVENT]
    number = 0
    for event in scene.events:
        if number >= _MOST_EVENTS:
            break
        if event.type == "Warning" and not any(event.message[:80] in said for said in cited):
            number += further.event(event)
    return tuple(further.entries)


def brief_of(diagnosis: Diagnosis, further: Sequence[Evidence], signals: Sequence[Signal] = ()) -> Brief:
    """What a model is shown, with the objects that more may be asked about, the blamed ones first."""
    named = [
        diagnosis.target,
        *(each.resource for each in diagnosis.hypotheses),
        *diagnosis.affected,
        *diagnosis.examined,
    ]
    objects = [ref for ref in dict.fromkeys(named) if ref.kind != "Secret"]
    alerts = dict.fromkeys(
        f"{signal.name} ({signal.severity}): {signal.summary[:_LONGEST_ALERT]}" for signal in signals
    )
    return Brief(
        target=diagnosis.target,
        diagnosis=Diagnosis(  # no more than it needs: it travels with every call
            target=diagnosis.target,
            verdict=diagnosis.verdict,
            hypotheses=diagnosis.hypotheses,
            evidence=diagnosis.evidence,
            gaps=diagnosis.gaps,
            onset=diagnosis.onset,
            severity=diagnosis.severity,
            similar=diagnosis.similar,
            moved=diagnosis.moved,
        ),
        further=tuple(further),
        alerts=tuple(alerts)[:_MOST_ALERTS],
        objects=tuple(objects[:MOST_OBJECTS]),
    )
