"""Why a person is needed, as the report says it."""

from __future__ import annotations

from cortexops.domain.diagnosis import Diagnosis, Verdict
from cortexops.domain.report_actions import escalation
from cortexops.domain.resource import ResourceRef

API = ResourceRef(cluster="test", kind="Deployment", namespace="shop", name="api")


def test_an_unknown_cause_comes_with_what_is_known() -> None:
    seen = ("Deployment shop/api was scaled by HorizontalPodAutoscaler shop/api", "Node n1 rebooted twice")
    found = Diagnosis(target=API, verdict=Verdict.UNKNOWN, known=seen)
    assert escalation(found, []) == (
        True, f"the cause could not be determined; known: {seen[0]}; {seen[1]}"
    )  # fmt: skip
    nothing = Diagnosis(target=API, verdict=Verdict.UNKNOWN)
    assert escalation(nothing, []) == (True, "the cause could not be determined")
