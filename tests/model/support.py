"""An investigation with something to reason about, and a model to reason with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from activities.reasoned import Assistant
from activities.reasoning import Reasoner
from cortexops.adapters.model import build_model
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support, Verdict
from cortexops.domain.evidence import Evidence, EvidenceKind
from cortexops.domain.reasoning import ModelLimits
from cortexops.domain.resource import ResourceRef
from cortexops.settings_model import ModelSettings, StageSettings
from tests.support.model import KEY, FakeModel

API = ResourceRef(cluster="prod-eu", kind="Deployment", namespace="shop", name="api")
NODE = ResourceRef(cluster="prod-eu", kind="Node", name="n1")
DB = ResourceRef(cluster="prod-eu", kind="StatefulSet", namespace="shop", name="db")
PRICED = StageSettings(price_in=1.0, price_out=4.0, timeout_seconds=20)


def settings_for(model: FakeModel, **changes: Any) -> ModelSettings:
    stages: dict[str, Any] = dict.fromkeys(("extract", "rank", "explain", "narrate"), PRICED)
    base = {"base_url": model.url, "api_key": SecretStr(KEY), "name": "small", **stages}
    return ModelSettings(**{**base, **changes})


@asynccontextmanager
async def assistant_for(settings: ModelSettings) -> AsyncIterator[Assistant]:
    model = build_model(settings)
    assert model is not None
    try:
        yield Assistant(Reasoner(model, settings), settings.limits() or ModelLimits())
    finally:
        await model.close()


def fact(number: int, ref: ResourceRef = API, summary: str = "", **more: Any) -> Evidence:
    return Evidence(
        id=f"e{number}",
        kind=EvidenceKind.STATUS,
        resource=ref,
        summary=summary or f"fact {number} of {ref}",
        **more,
    )


def hypothesis(
    ref: ResourceRef = API,
    category: Category = Category.CONFIGMAP_CHANGED,
    confidence: float = 0.9,
    *,
    deterministic: bool = True,
    evidence: tuple[str, ...] = ("e1",),
) -> Hypothesis:
    return Hypothesis(
        resource=ref,
        category=category,
        summary=f"{ref} is the cause",
        support=Support(direct=1, deterministic=deterministic),
        evidence=evidence,
        confidence=confidence,
    )


def a_diagnosis(*hypotheses: Hypothesis, verdict: Verdict = Verdict.ROOT_CAUSE) -> Diagnosis:
    found = hypotheses or (hypothesis(), hypothesis(DB, Category.DEPENDENCY_DOWN, 0.4, evidence=("e2",)))
    return Diagnosis(
        target=API,
        verdict=verdict,
        hypotheses=found,
        evidence=(fact(1, excerpt="FATAL invalid POOL_SIZE: ten"), fact(2, DB), fact(3, NODE)),
        examined=(API, DB, NODE),
    )


class Diagnoses:
    """Keeps what was saved."""

    def __init__(self) -> None:
        self.saved: dict[str, Diagnosis] = {}

    async def verified_changes(self, target: Any, *, most: int = 20) -> list[Any]:
        return []

    async def save_diagnosis(self, incident_id: str, diagnosis: Diagnosis) -> None:
        self.saved[incident_id] = diagnosis
