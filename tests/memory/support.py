"""Cases, words and people that these tests share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cortexops.domain.approval import Person
from cortexops.domain.case import Case
from cortexops.domain.precedent import Fingerprint

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
ANA = Person(id="ana", name="Ana", via="token")
BO = Person(id="bo", name="Bo", via="token")
TEXT = (
    "OOM kill on Deployment shop/api\noom_limit_too_low\n"
    "Container api was OOMKilled at its memory limit of 512Mi, 4 restarts"
)


def a_case(number: int = 1, **changes: Any) -> Case:
    base: dict[str, Any] = {
        "incident_id": f"INC-20260401-{number:03d}",
        "cluster": "prod",
        "namespace": "shop",
        "kind": "Deployment",
        "name": "api",
        "category": "oom_limit_too_low",
        "text": TEXT,
        "action": "adjust_resources Deployment shop/api",
        "action_type": "adjust_resources",
        "outcome": "RESOLVED",
        "verified": True,
        "at": NOW,
        "fingerprint": Fingerprint(
            kind="Deployment", owner_kind="Deployment", containers=1,
            images={"api": "sha256:aa"}, configs={"ConfigMap/api-env": "1111"},
        ),
    }  # fmt: skip
    return Case(**{**base, **changes})
