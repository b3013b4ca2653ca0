"""A quota that is itself the alert's target, and leaves no room."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.findings import Subject
from cortexops.domain.kubernetes import commands
from cortexops.domain.kubernetes.quotas import used_up
from cortexops.domain.scene import Scene


@analyzer("quota")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    quota, live = scene.target, scene.get(scene.target)
    full = used_up(live) if quota.kind == "ResourceQuota" and live is not None else {}
    if live is None or not full:
        return []
    uses = ", ".join(f"{name} {used} of {most}" for name, (used, most) in sorted(full.items())[:4])
    cited = book.cite(
        EvidenceKind.STATUS, quota, f"{quota} is used up: {uses}", command=commands.describe(quota)
    )
    return [
        Hypothesis(
            resource=quota,
            category=Category.QUOTA_EXCEEDED,
            summary=f"{quota} is used up ({uses}): new pods and objects that ask for more are refused",
            support=support(Subject(quota, live, ()), 0.95),
            evidence=(cited,),
            facts={"quota": quota.name},
        )
    ]
