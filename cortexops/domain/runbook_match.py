"""Which runbook is for an incident: every criterion answered and explained, the most specific one first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cortexops.domain.diagnosis import Category
from cortexops.domain.resource import Frozen, ResourceRef
from cortexops.domain.runbook import Match, Origin, Runbook
from cortexops.domain.signal import Signal
from cortexops.domain.silence import matches

_SERVICE_LABELS = ("service", "app", "app_kubernetes_io_name", "deployment", "statefulset", "daemonset")
_ORIGINS = (Origin.FOLDER, Origin.URL, Origin.SHIPPED)
"""Of two equally specific ones the first of these: a team's own, then the one at its address, then ours."""
_EXACT_ALERT, _ALERT, _MOST_LETTERS = 100, 40, 40
_WEIGHTS = {"categories": 30, "services": 30, "namespaces": 10, "kinds": 10, "clusters": 5, "severities": 5}
_EACH_LABEL = 15


class Subject(NamedTuple):
    """What is matched: the incident's object, its alerts, and the category of the cause when it is known."""

    target: ResourceRef
    signals: tuple[Signal, ...] = ()
    category: Category | None = None


class Criterion(Frozen):
    """One line of the explanation."""

    name: str
    wanted: tuple[str, ...]
    found: tuple[str, ...]
    fits: bool


class Fit(Frozen):
    """Whether a runbook is for the subject, why, and how specific it is (more is more)."""

    runbook: str
    origin: Origin
    fits: bool
    score: int
    criteria: tuple[Criterion, ...]


def fit(runbook: Runbook, subject: Subject) -> Fit:
    """Every criterion of the runbook against the subject. What belongs to an alert must fit one and the same."""
    match = runbook.match
    alert, about = _alert_part(match, subject), _object_part(match, subject)
    criteria = (*alert, *about)
    fits = all(criterion.fits for criterion in criteria)
    return Fit(
        runbook=runbook.id,
        origin=runbook.origin,
        fits=fits,
        score=_score(match, subject) if fits else 0,
        criteria=criteria,
    )


def matching(runbooks: Iterable[Runbook], subject: Subject) -> list[tuple[Runbook, Fit]]:
    """Those that fit, the most specific first; the order in which they are given changes nothing."""
    found = [(runbook, its) for runbook in runbooks if (its := fit(runbook, subject)).fits]
    return sorted(
        found, key=lambda item: (-item[1].score, _ORIGINS.index(item[0].origin), item[0].id, item[0].version)
    )


def _alert_part(match: Match, subject: Subject) -> list[Criterion]:
    """Names, severities and labels of the alert that comes nearest."""
    tries = [_one_alert(match, signal) for signal in subject.signals] or [_one_alert(match, None)]
    return max(tries, key=lambda criteria: sum(criterion.fits for criterion in criteria))


def _one_alert(match: Match, signal: Signal | None) -> list[Criterion]:
    found = []
    if match.alerts:
        found.append(_criterion("alerts", match.alerts, [signal.name] if signal else []))
    if match.severities:
        wanted = [severity.value for severity in match.severities]
        found.append(_criterion("severities", wanted, [signal.severity.value] if signal else []))
    for label, pattern in sorted(match.labels.items()):
        has = signal.labels.get(label) if signal else None
        found.append(_criterion(f"labels.{label}", [pattern], [has] if has is not None else []))
    return found


def _object_part(match: Match, subject: Subject) -> list[Criterion]:
    refs = [subject.target, *(signal.resource for signal in subject.signals)]
    labels = [
        signal.labels[name] for signal in subject.signals for name in _SERVICE_LABELS if name in signal.labels
    ]
    values = {
        "kinds": [ref.kind for ref in refs],
        "namespaces": [ref.namespace for ref in refs if ref.namespace],
        "services": [*(ref.name for ref in refs), *labels],
        "clusters": [subject.target.cluster],
    }
    found = [
        _criterion(name, wanted, has) for name, has in values.items() if (wanted := getattr(match, name))
    ]
    if match.categories:
        has = [subject.category.value] if subject.category else []
        found.append(_criterion("categories", [category.value for category in match.categories], has))
    return found


def _criterion(name: str, wanted: Sequence[str], has: Sequence[str]) -> Criterion:
    distinct = tuple(dict.fromkeys(has))
    exact: Callable[[str, str], bool] = (
        matches if name not in ("severities", "categories") else lambda one, other: one == other
    )
    fits = any(exact(pattern, value) for pattern in wanted for value in distinct)
    return Criterion(name=name, wanted=tuple(wanted), found=distinct[:20], fits=fits)


def _score(match: Match, subject: Subject) -> int:
    """The documented sum: what names more, and names it exactly, is more specific."""
    score = sum(weight for name, weight in _WEIGHTS.items() if getattr(match, name))
    score += _EACH_LABEL * len(match.labels)
    names = {signal.name for signal in subject.signals}
    if match.alerts:
        score += max(_alert_weight(p) for p in match.alerts if any(matches(p, name) for name in names))
    return score


def _alert_weight(pattern: str) -> int:
    return _EXACT_ALERT if "*" not in pattern else _ALERT + min(_MOST_LETTERS, len(pattern.replace("*", "")))
