"""Runbooks in an investigation: the one that fits best is carried out, and feeds diagnosis and candidates."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

import structlog

from activities.gathering import Reads
from activities.runbooks.asking import Asker
from activities.runbooks.carrying import Carrying
from activities.runbooks.offering import Catalogue, Offerer, merged
from cortexops.domain.action import Candidate, ProposedBy, ProposerKind
from cortexops.domain.conclusion import is_healthy
from cortexops.domain.diagnosis import Diagnosis, Verdict
from cortexops.domain.runbook import Runbook
from cortexops.domain.runbook_facts import facts_of
from cortexops.domain.runbook_feed import feed
from cortexops.domain.runbook_match import Subject, matching
from cortexops.domain.runbook_run import RunbookRun
from cortexops.domain.scene import Scene
from cortexops.metrics import RUNBOOK_STEPS
from cortexops.ports.runbooks import RunbookSource

log = structlog.get_logger(__name__)

URL_LABEL = "runbook_url"
"""Where alerts carry the address of their runbook; people are shown it."""
_MOST_ALSO = 5
_LONGEST_LINK = 500  # characters
_LEAST_SECONDS = 1.0


class Runbooks:
    """`runbooks` are those from folders; `source` reads further ones from addresses, when one is configured.

    `fetched_actions` are the actions that a fetched runbook may ask for.
    """

    def __init__(
        self,
        runbooks: Sequence[Runbook],
        catalogue: Catalogue,
        source: RunbookSource | None = None,
        *,
        fetched_actions: Collection[str] = (),
        budget_seconds: float = 30,
    ) -> None:
        self._runbooks = tuple(runbooks)
        self._catalogue = catalogue
        self._source = source
        self._fetched_actions = frozenset(fetched_actions)
        self._budget = budget_seconds

    async def consult(
        self,
        reads: Reads,
        scene: Scene,
        diagnosis: Diagnosis,
        candidates: Sequence[Candidate],
        *,
        seconds_left: float = 60,
    ) -> tuple[Diagnosis, list[Candidate]]:
        """The diagnosis with the run and its evidence, and the candidates with those that the runbook adds.

        Takes at most the runbooks' budget and what is left of the investigation's. Never raises for what
        the cluster, Prometheus or an address does.
        """
        end = time.monotonic() + min(self._budget, seconds_left)
        cause = diagnosis.cause
        subject = Subject(diagnosis.target, scene.signals, cause.category if cause else None)
        link = _link(scene)
        fetched = await self._fetched(scene, link) if end - time.monotonic() > _LEAST_SECONDS else []
        known = {runbook.id for runbook in self._runbooks}
        fitting = matching([*self._runbooks, *(r for r in fetched if r.id not in known)], subject)
        if not fitting or diagnosis.verdict is Verdict.HEALTHY:
            if link:
                only = RunbookRun(id="", version="", title="", origin="", link=link)
                diagnosis = diagnosis.model_copy(update={"runbook": only})
            return diagnosis, list(candidates)
        runbook = fitting[0][0]
        asker = Asker(reads, scene)
        carrying = Carrying(
            runbook,
            asker,
            Offerer(self._catalogue, scene, asker, candidates),
            facts_of(scene, diagnosis),
            allowed=self._fetched_actions,
        )
        done = await carrying.all(end - time.monotonic())
        for step in done.run.steps:
            RUNBOOK_STEPS.labels(kind=step.kind.value, status=step.status.value).inc()
        also = tuple(other.id for other, _ in fitting[1 : _MOST_ALSO + 1])
        run = done.run.model_copy(update={"link": link, "also": also})
        fed = feed(diagnosis, run, done.facts, done.said, healthy=is_healthy(scene))
        return fed, merged(list(candidates), _asked_by(runbook, candidates, done.candidates))

    async def _fetched(self, scene: Scene, link: str) -> list[Runbook]:
        """The runbook at the configured address, and the alert's own where its host is allowed."""
        if self._source is None or not scene.signals:
            return []
        signal = scene.signals[0]
        address = self._source.address(
            {
                "alertname": signal.name,
                "severity": signal.severity.value,
                "cluster": scene.cluster,
                "kind": scene.target.kind,
                "namespace": scene.target.namespace,
                "name": scene.target.name,
            }
        )
        if not address and link and self._source.may_fetch(link):
            address = link
        if not address:
            return []
        found = await self._source.fetch(address)
        for problem in found.problems:
            log.warning("a runbook was not used", problem=str(problem))
        return [found.runbook] if found.runbook else []


def _asked_by(runbook: Runbook, own: Sequence[Candidate], offered: Sequence[Candidate]) -> list[Candidate]:
    """The runbook is named as who proposes what the diagnosis alone would not have offered."""
    known = {candidate.action.hash for candidate in own if candidate.feasible}
    by = ProposedBy(kind=ProposerKind.RUNBOOK, name=runbook.id)
    return [
        one if one.action.hash in known else one.model_copy(update={"proposed_by": by}) for one in offered
    ]


def _link(scene: Scene) -> str:
    """The address that the alert names, when it is one that a person may be shown."""
    for signal in scene.signals:
        link = signal.labels.get(URL_LABEL, "")
        if link.startswith(("https://", "http://")) and link.isprintable() and " " not in link:
            return link[:_LONGEST_LINK]
    return ""
