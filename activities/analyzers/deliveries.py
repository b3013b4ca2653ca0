"""Deliveries of the target's workload that failed shortly before the trouble: what runs may be half of a release."""

from __future__ import annotations

import re
from datetime import timedelta

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_condition, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import is_troubled, own_subjects, serves_badly
from cortexops.domain.kubernetes import delivery
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation

_CLOCKS = timedelta(minutes=1)
_LATELY = timedelta(hours=24)
_ABOUT = re.compile(r"(?i)flux|helm|kustomiz|reconcil|argo|gitops|out.?of.?sync")
"""Of alerts that are about the delivery itself."""
_SHOWN = 260  # characters


@analyzer("deliveries")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    asked = any(_ABOUT.search(f"{signal.name} {signal.summary}") for signal in scene.signals)
    for subject in own_subjects(scene):
        if not asked and not is_troubled(scene, subject) and not serves_badly(scene):
            continue
        own = [subject.ref] if subject.ref.kind in delivery.KINDS else []
        for ref in own or scene.topology.into(subject.ref, Relation.ACTS_ON):
            failed = delivery.failure(ref.kind, scene.get(ref) or {}) if ref.kind in delivery.KINDS else None
            if failed is None or failed.since is None:
                continue
            if not scene.onset - _LATELY <= failed.since <= scene.onset + _CLOCKS:
                continue
            reason = f"{failed.reason}: {_told(failed.message)}" if failed.message else failed.reason
            found.append(
                Hypothesis(
                    resource=ref,
                    category=Category.DELIVERY_FAILED,
                    summary=f"{ref}{'' if own else f', which delivers {subject.ref},'} failed before the trouble began"
                    f" ({reason})",
                    support=support(
                        subject, 0.9 if asked or own else 0.55, precedes=True, steps=0 if own else 1
                    ),
                    evidence=(cite_condition(book, ref, failed),),
                )
            )
    return found


def _told(message: str) -> str:
    """The beginning and the end of what may be a long chain: who failed, and why."""
    said = " ".join(message.split())
    return said if len(said) <= _SHOWN else f"{said[:60]} … {said[-(_SHOWN - 60) :]}"
