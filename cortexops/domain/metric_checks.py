"""Metric checks: what is asked of Prometheus after a change, and what an answer is worth.

A check asks the same query now and of the time before the change. How a value is judged depends on what it
is compared with and on whether the check measures the trouble itself or a side effect (`judge`); how many
such answers make a phase depends on the check's limits (`conclude`), as argo-rollouts counts them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import Frozen, ResourceRef
from cortexops.domain.verification import Phase
from cortexops.domain.words import counted

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_PLACE = re.compile(r"\{\{([^{}]*)\}\}")
_NAMES = ("namespace", "service", "pods", "workload")
_RANGE = "range"
_GENERATED = "[bcdfghjklmnpqrstvwxz2456789]"
"""The letters of which Kubernetes makes the ends of names: no word of a person's is taken for one."""


LEFT_OUT = "metrics"
"""The check that says in one measurement what was left out of the verdict, and why."""


class Compare(StrEnum):
    """With what a value is compared."""

    NO_WORSE = "no_worse_than_baseline"
    BELOW = "below"
    ABOVE = "above"


class Scope(NamedTuple):
    """What a check is about: a workload (or node) and the Service in front of it."""

    ref: ResourceRef
    service: str
    category: str = ""
    """The cause that the change is to mend; empty when it is not known."""


class Match(Frozen):
    """For which objects and causes a check is asked. Every list that is empty matches all; `*` and `?` are allowed."""

    clusters: tuple[str, ...] = Field((), description="only of these clusters")
    namespaces: tuple[str, ...] = Field((), description="only in these namespaces")
    services: tuple[str, ...] = Field((), description="only for these names of a Service or workload")
    kinds: tuple[str, ...] = Field((), description="only for these kinds, for example Deployment")
    categories: tuple[str, ...] = Field((), description="only when the cause is one of these")

    def covers(self, scope: Scope) -> bool:
        found = (
            (self.clusters, (scope.ref.cluster,)),
            (self.namespaces, (scope.ref.namespace,)),
            (self.services, (scope.service, scope.ref.name)),
            (self.kinds, (scope.ref.kind,)),
            (self.categories, (scope.category,)),
        )
        return all(
            not patterns or any(fnmatchcase(value, pattern) for value in values for pattern in patterns)
            for patterns, values in found
        )


class MetricCheck(Frozen):
    """One question to Prometheus and how its answers are judged."""

    name: str = Field(description="its name in verdicts", pattern=r"^[a-z][a-z0-9_]{0,62}$")
    query: str = Field(description="PromQL with places to fill; needs [{{range}}]", max_length=4000)
    match: Match = Match()
    compare: Compare = Field(Compare.NO_WORSE, description="no_worse_than_baseline, below or above")
    threshold: float = Field(0, description="for below and above: the bound, which is good itself")
    factor: float = Field(1.2, description="so many times the baseline is still no worse", ge=1)
    floor: float = Field(0, description="up to this a value is good whatever the baseline", ge=0)
    better: float = Field(
        0.5, description="of the trouble itself: good at this share of what it was at the change", ge=0, le=1
    )
    own: tuple[str, ...] = Field((), description="causes whose trouble this measures itself; * for all")
    min_samples: int = Field(1, description="measurements with a value before it can be good", ge=1)
    on_no_data: Literal["ignore", "inconclusive"] = Field(
        "inconclusive", description="what an empty answer means after a while: ignore or inconclusive"
    )
    required: bool = Field(True, description="what cannot be asked is an Error; else it is left out and said")
    initial_delay_seconds: float = Field(0, description="nothing is judged so soon after the change", ge=0)
    failure_limit: int = Field(2, description="bad answers in a row that are tolerated", ge=0)
    inconclusive_limit: int = Field(2, description="undecided answers in a row that are tolerated", ge=0)
    consecutive_error_limit: int = Field(4, description="failed queries in a row that are tolerated", ge=0)

    @field_validator("query")
    @classmethod
    def _only_known_places(cls, query: str) -> str:
        for place in _PLACE.finditer(query):
            name = place.group(1)
            if name not in (*_NAMES, _RANGE):
                raise ValueError(f"{{{{{name}}}}} is not one of {', '.join((*_NAMES, _RANGE))}")
            if name != _RANGE and not _quoted(query, place.start()):
                raise ValueError(f"{{{{{name}}}}} must stand between double quotes")
        if "[{{range}}]" not in query:
            raise ValueError("needs [{{range}}]: only what was measured since the change may count")
        return query

    @model_validator(mode="after")
    def _bound_for_what_it_is_compared_with(self) -> MetricCheck:
        if self.compare is not Compare.NO_WORSE and "threshold" not in self.model_fields_set:
            raise ValueError(f"{self.name}: {self.compare} needs a threshold")
        return self

    def owns(self, category: str) -> bool:
        """Whether this measures the trouble of that cause itself."""
        return bool(category) and ("*" in self.own or category in self.own)

    def worst(self, values: Sequence[float]) -> float | None:
        """The one of several series that decides."""
        pick = min if self.compare is Compare.ABOVE else max
        return pick(values) if values else None


def _quoted(query: str, at: int) -> bool:
    """Whether this position is within a string between double quotes."""
    quote = ""
    escaped = False
    for char in query[:at]:
        if escaped:
            escaped = False
        elif char == "\\" and quote in ('"', "'"):
            escaped = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "\"'`":
            quote = char
    return quote == '"'


def filled(check: MetricCheck, scope: Scope, *, seconds: float) -> str:
    """The query for these names, over so many seconds. Raises `InvalidInput` for a name that Kubernetes would
    not have taken: nothing else ever gets into a query."""
    ref = scope.ref
    for what, name in (("namespace", ref.namespace), ("service", scope.service), ("workload", ref.name)):
        if not is_name(name) and not (what == "namespace" and ref.kind == "Node" and not name):
            raise InvalidInput(what, "is not a name of Kubernetes; metrics are not asked for it")
    names = {
        "namespace": ref.namespace,
        "service": scope.service,
        "workload": ref.name,
        "pods": pod_names(ref),
        _RANGE: milliseconds(seconds),
    }
    return fill(check.query, names)


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with these values at its places, escaped for a string between double quotes."""
    return _PLACE.sub(lambda place: _label(values[place.group(1)]), template)


def milliseconds(seconds: float) -> str:
    """As PromQL writes a time."""
    return f"{max(1, round(seconds * 1000))}ms"


def is_name(text: str) -> bool:
    """Whether Kubernetes would have taken it as a name."""
    return _NAME.fullmatch(text) is not None


def _label(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def pod_names(ref: ResourceRef) -> str:
    """A pattern for the names of the workload's pods, those before the change included; of a pod its own."""
    ends = {
        "Deployment": f"{_GENERATED}{{1,10}}-{_GENERATED}{{5}}",
        "DaemonSet": f"{_GENERATED}{{5}}",
        "StatefulSet": "[0-9]+",
    }
    end = ends.get(ref.kind)
    return re.escape(ref.name) + (f"-{end}" if end else "")


class Finding(StrEnum):
    """What one answer is worth."""

    GOOD = "good"
    UNSURE = "unsure"
    BAD = "bad"
    NO_DATA = "no_data"
    ERROR = "error"


_NOT_GOOD = (Finding.BAD, Finding.UNSURE)


class Seen(NamedTuple):
    """One answer, judged, in words."""

    finding: Finding
    detail: str


class References(NamedTuple):
    """The same query before: when the change was made, and before the trouble began. None: no data."""

    before: float | None = None
    calm: float | None = None


def judge(check: MetricCheck, value: float | None, past: References, *, own: bool, contained: bool) -> Seen:
    """What this value is worth, the worse the value the worse the finding.

    `own`: the check measures the trouble that is to be mended: it must fall. For side effects nothing may be
    worse than it was before the trouble began. `contained`: the action stops the damage and leaves the cause,
    so that it is enough when nothing got worse.
    """
    if value is None:
        return Seen(Finding.NO_DATA, "no data")
    said = f"{value:.4g}" + "".join(
        f", {number:.4g} {when}"
        for number, when in ((past.before, "at the change"), (past.calm, "before the trouble"))
        if number is not None
    )
    if check.compare is not Compare.NO_WORSE:
        above = check.compare is Compare.ABOVE
        good = value >= check.threshold if above else value <= check.threshold
        if not good and contained and past.before is not None:
            good = value >= past.before / check.factor if above else value <= past.before * check.factor
        says = f"{said} (must be {check.compare} {check.threshold:g})"
        return Seen(Finding.GOOD if good else Finding.BAD, says)
    return _against_the_past(check, value, past, own=own, contained=contained, said=said)


def _against_the_past(
    check: MetricCheck, value: float, past: References, *, own: bool, contained: bool, said: str
) -> Seen:
    before, calm = past
    normal = check.floor if calm is None else max(check.floor, calm * check.factor)
    if calm is None and before is not None and (contained or not own):
        normal = max(check.floor, before * check.factor)
    if value <= normal:
        return Seen(Finding.GOOD, said)
    if before is None:
        if calm is None:
            return Seen(Finding.NO_DATA, f"{said}, and nothing to compare with")
        return Seen(Finding.BAD, said)
    if contained:
        return Seen(Finding.GOOD if value <= before * check.factor else Finding.BAD, said)
    if own and value <= before * check.better:
        return Seen(Finding.GOOD, said)
    if own and value < before:
        return Seen(Finding.UNSURE, f"{said}: less, but not by enough")
    if not own and calm is not None and value <= before * check.factor and before > normal:
        return Seen(Finding.UNSURE, f"{said}: so it was before the change already")
    return Seen(Finding.BAD, said)


class Moment(NamedTuple):
    """Where in the window an answer came. `waited`: long enough for what was to come; `last`: none will follow."""

    early: bool = False
    waited: bool = False
    last: bool = False


class Conclusion(NamedTuple):
    """The phase of a check. `counts` is False where it is left out of the verdict, and `detail` says why."""

    phase: Phase
    detail: str
    counts: bool = True


def conclude(check: MetricCheck, history: Sequence[Seen], *, known: bool, moment: Moment) -> Conclusion:
    """The phase after these answers, oldest first, of which there is at least one. `known`: it had data before.

    Limits count answers in a row; one more than the limit makes the phase, until then it is Running. When no
    further answer will come, the last one counts as it is.
    """
    newest = history[-1]
    judged = [seen.finding for seen in history if seen.finding not in (Finding.NO_DATA, Finding.ERROR)]
    if newest.finding is Finding.ERROR or newest.finding is Finding.NO_DATA:
        return _unmeasured(check, history, known=known, was_good=not _tail(judged, _NOT_GOOD), moment=moment)
    if moment.early and not moment.last:
        return Conclusion(Phase.RUNNING, f"{newest.detail}; too early to judge")
    bad, not_good = _tail(judged, (Finding.BAD,)), _tail(judged, _NOT_GOOD)
    if bad > check.failure_limit or (bad and moment.last):
        return Conclusion(Phase.FAILED, f"{newest.detail}; {counted(bad, 'bad answer')} in a row")
    if not_good > check.inconclusive_limit or (not_good and moment.last):
        return Conclusion(Phase.INCONCLUSIVE, newest.detail)
    if not_good:
        return Conclusion(Phase.RUNNING, newest.detail)
    if len(judged) < check.min_samples:
        phase = Phase.INCONCLUSIVE if moment.last else Phase.RUNNING
        return Conclusion(phase, f"{newest.detail}; {len(judged)} of {check.min_samples} samples")
    return Conclusion(Phase.SUCCESSFUL, newest.detail)


def _unmeasured(
    check: MetricCheck, history: Sequence[Seen], *, known: bool, was_good: bool, moment: Moment
) -> Conclusion:
    newest = history[-1]
    failed = newest.finding is Finding.ERROR
    if failed:
        errors = _tail([seen.finding for seen in history], (Finding.ERROR,))
        over = errors > check.consecutive_error_limit or moment.last
        if check.required:
            return Conclusion(Phase.ERROR if over else Phase.RUNNING, newest.detail)
    else:
        over = moment.waited or moment.last
        if check.on_no_data == "inconclusive":
            return Conclusion(Phase.INCONCLUSIVE if over else Phase.RUNNING, newest.detail)
    if not was_good:  # a check that was bad when it last answered is not forgotten
        detail = f"{newest.detail}, and it was not good when last measured"
        return Conclusion(Phase.INCONCLUSIVE if over else Phase.RUNNING, detail)
    if not failed and known and not over:
        return Conclusion(Phase.RUNNING, "not measured yet since the change")
    return Conclusion(Phase.SUCCESSFUL, newest.detail, counts=False)


def _tail(findings: Sequence[Finding], wanted: tuple[Finding, ...]) -> int:
    """How many at the end are of these, without a break."""
    number = 0
    for finding in reversed(findings):
        if finding not in wanted:
            break
        number += 1
    return number
