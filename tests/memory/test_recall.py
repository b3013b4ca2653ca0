"""How much a precedent counts, and that it never counts as evidence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.case import Case, Recalled, completed, masked
from cortexops.domain.diagnosis import Category, Hypothesis, Support
from cortexops.domain.errors import PermanentError
from cortexops.domain.precedent import Fingerprint, Precedent, Tried
from cortexops.domain.recall import MOST_BONUS, backing, freshness, heaviest, precedent, supported
from cortexops.domain.resource import ResourceRef
from tests.memory.support import NOW, a_case
from tests.support.case import TARGET, a_diagnosis, a_ledger_row

API = ResourceRef(cluster="prod", kind="Deployment", namespace="shop", name="api")


def counted(case: Case, **changes: Any) -> Precedent:
    base: dict[str, Any] = {
        "target": API, "category": "oom_limit_too_low", "present": a_case().fingerprint, "wrong": {}, "now": NOW,
    }  # fmt: skip
    return precedent(Recalled(case=case, score=1.0, likeness=1.0), **{**base, **changes})


def test_resolved_counts_more_than_contained_and_that_more_than_failed() -> None:
    resolved, contained, failed = (
        counted(a_case(outcome=outcome)) for outcome in ("RESOLVED", "CONTAINED", "ROLLED_BACK")
    )
    assert (resolved.weight, contained.weight, failed.weight) == (1.0, 0.6, 0.3)
    assert resolved.why[0] == "resolved" and failed.worked == ""


def test_a_precedent_loses_half_in_a_half_life_and_never_all() -> None:
    assert freshness(NOW - timedelta(days=90), NOW) == 0.5
    assert freshness(NOW - timedelta(days=30), NOW, 30) == 0.5
    assert freshness(NOW - timedelta(days=9000), NOW) == 0.25
    assert freshness(NOW + timedelta(days=1), NOW) == 1.0
    assert "45 days old" in counted(a_case(at=NOW - timedelta(days=45))).why


def test_it_is_demoted_when_image_or_configuration_changed_since() -> None:
    def present(image: str, config: str) -> Fingerprint:
        return Fingerprint(images={"api": image, "new": "x"}, configs={"ConfigMap/api-env": config})

    same = counted(a_case(), present=present("sha256:aa", "1111"))
    image = counted(a_case(), present=present("sha256:bb", "1111"))
    both = counted(a_case(), present=present("sha256:bb", "2222"))
    assert same.weight == 1.0 and image.weight == 0.7 and both.weight == 0.56
    assert "image of api changed since" in image.why
    assert "ConfigMap/api-env changed since" in both.why
    assert counted(a_case(), present=Fingerprint()).weight == 1.0  # what was not seen is not compared


def test_feedback_on_the_earlier_incident_weighs() -> None:
    id = a_case().incident_id
    wrong, partly, right = (counted(a_case(), wrong={id: share}) for share in (1.0, 0.5, 0.0))
    assert (wrong.weight, partly.weight, right.weight) == (0.3, 0.65, 1.0)
    assert "people called its diagnosis incorrect" in wrong.why


def test_other_workloads_clusters_and_causes_count_less() -> None:
    assert counted(a_case(name="web")).weight == 0.9
    assert counted(a_case(cluster="far")).weight == 0.8
    other = counted(a_case(category="crash"))
    assert other.weight == 0.4 and "its cause was crash" in other.why


def test_what_worked_and_what_did_not_is_cited() -> None:
    tried = (
        Tried(action="restart_workload …", action_type="restart_workload", result="compensated"),
        Tried(action="adjust_resources …", action_type="adjust_resources", result="verified"),
    )
    found = counted(a_case(tried=tried))
    assert found.worked == "adjust_resources" and found.did_not == ("restart_workload",)
    text = str(found)
    assert "adjust_resources worked; did not help: restart_workload" in text
    assert "likeness 1.00" in text and "resolved" in text


def test_the_heaviest_come_first_in_a_stable_order() -> None:
    found = [counted(a_case(n, outcome="CONTAINED" if n == 2 else "RESOLVED")) for n in (3, 2, 1)]
    assert [p.incident_id[-3:] for p in heaviest(found, 2)] == ["001", "003"]


confidences = st.floats(0, 1).map(lambda v: round(v, 2))


@given(confidences, st.booleans(), st.lists(st.floats(0, 1), max_size=4))
def test_precedents_never_carry_a_confidence_over_a_line(
    value: float, deterministic: bool, weights: list[float]
) -> None:
    value = min(value, 0.97 if deterministic else 0.6)
    found = [counted(a_case()).model_copy(update={"weight": weight}) for weight in weights]
    hypothesis = Hypothesis(
        resource=API, category=Category.OOM_LIMIT_TOO_LOW, summary="s", evidence=("e1",), confidence=value,
        support=Support(direct=1, deterministic=deterministic),
    )  # fmt: skip
    raised = supported(hypothesis, found)
    assert value <= raised <= round(value + MOST_BONUS, 2)
    for line in (0.45, 0.7):
        assert (value < line) is (raised < line)
    if not deterministic:
        assert raised == value
    assert backing(hypothesis.model_copy(update={"evidence": ()}), found) == 0


def test_a_case_is_completed_from_the_books_and_masked() -> None:
    row = a_ledger_row("INC-1")
    full = completed(a_case(action="password=hunter22secret"), a_diagnosis(), [row])
    assert [t.action_type for t in full.tried] == ["adjust_resources"]
    assert full.verification == "Failed" and str(TARGET) in full.tried[0].action
    clean = masked(full, lambda text: text.replace("hunter22secret", "***"))
    assert clean.action == "password=***" and clean.tried == full.tried


def test_when_masking_fails_nothing_comes_out() -> None:
    def broken(text: str) -> str:
        raise PermanentError("withheld")

    with pytest.raises(PermanentError):
        masked(a_case(), broken)
