"""Runbook: what a team does about an alert, written down as steps that a program can carry out safely.

A check asks one question that changes nothing, an action is one of the product's typed actions, a note is
text for a person. There are no commands, no scripts and no expressions.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, PlainValidator, StrictBool, model_validator

from cortexops.domain.diagnosis import Category
from cortexops.domain.resource import Frozen
from cortexops.domain.signal import Severity

SCHEMA: Literal["cortexops.runbook/v1"] = "cortexops.runbook/v1"
MOST_STEPS = 20
MOST_OUTPUTS = 10
LONGEST_WAIT = 60  # seconds


def _plain(value: object) -> bool | int | float | str:
    if isinstance(value, str) and len(value) <= 500:
        return value
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError("must be text (of at most 500 characters), a number, true or false")


Value = Annotated[bool | int | float | str, PlainValidator(_plain)]
Template = Annotated[str, Field(min_length=1, max_length=300)]
Pattern = Annotated[str, Field(min_length=1, max_length=128)]
"""Exact text, in which `*` stands for any text."""
OutputName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
Pointer = Annotated[str, Field(pattern=r"^(/[^/\x00-\x1f]{1,120}){1,12}$", max_length=300)]


class Origin(StrEnum):
    """Where a runbook came from. What was fetched is text of others and may do less."""

    FOLDER = "folder"
    SHIPPED = "shipped"
    URL = "url"


class OnFailure(StrEnum):
    CONTINUE = "continue"
    STOP = "stop"


class Match(Frozen):
    """Which incidents a runbook is for: all fields that are given must fit, one entry of each is enough."""

    alerts: tuple[Pattern, ...] = Field((), max_length=50)
    severities: tuple[Severity, ...] = ()
    kinds: tuple[Pattern, ...] = Field((), max_length=50)
    namespaces: tuple[Pattern, ...] = Field((), max_length=50)
    services: tuple[Pattern, ...] = Field((), max_length=50)
    labels: dict[str, Pattern] = Field(default_factory=dict, max_length=20)
    categories: tuple[Category, ...] = ()
    clusters: tuple[Pattern, ...] = Field((), max_length=50)

    @model_validator(mode="after")
    def _says_something(self) -> Match:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("names nothing and would match every incident: give alerts, kinds or others")
        return self


class Expect(Frozen):
    """What a value must be; all that is given must hold. Quantities such as `1Gi` compare as numbers."""

    equals: Value | None = None
    not_equals: Value | None = None
    at_least: Value | None = None
    more_than: Value | None = None
    at_most: Value | None = None
    less_than: Value | None = None
    contains: Value | None = None
    one_of: tuple[Value, ...] | None = Field(None, min_length=1, max_length=50)
    exists: StrictBool | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Expect:
        if not self.model_fields_set:
            raise ValueError("is empty: give equals, at_least, at_most, contains, one_of or exists")
        empty = [name for name in sorted(self.model_fields_set) if getattr(self, name) is None]
        if empty:
            raise ValueError(f"{empty[0]} is null: give a value, or exists: false for what must be absent")
        return self


class ObjectQuestion(Frozen):
    """One object, by default the incident's own; `field` is a JSON pointer into it."""

    kind: Template = "{{ kind }}"
    namespace: Template = "{{ namespace }}"
    name: Template = "{{ name }}"
    field: Pointer | None = None


class CountQuestion(Frozen):
    """How many objects of a kind there are for which every field of `where` is as expected.

    With `of_target` only those that belong to the incident's workload or node count.
    """

    kind: Template
    namespace: Template = "{{ namespace }}"
    of_target: StrictBool = False
    where: dict[Pointer, Expect] = Field(default_factory=dict, max_length=5)


class MetricQuestion(Frozen):
    """One number from Prometheus, as it was when the alert fired. Of several series `take` decides."""

    query: str = Field(min_length=1, max_length=1000)
    take: Literal["max", "min", "sum"] = "max"


class LogQuestion(Frozen):
    """How many of the log lines that the investigation read hold this text, whatever their letters' case."""

    contains: Annotated[str, Field(min_length=2, max_length=200)]
    container: Template | None = None


class EventQuestion(Frozen):
    """How many Kubernetes events with these reasons the investigation saw around the incident."""

    reasons: tuple[Annotated[str, Field(min_length=1, max_length=128)], ...] = Field(
        min_length=1, max_length=20
    )


class Claim(Frozen):
    """What a check says about the cause. `when` is the outcome that says it; the object is the incident's own
    unless named."""

    category: Category
    kind: Template = "{{ kind }}"
    namespace: Template = "{{ namespace }}"
    name: Template = "{{ name }}"
    when: Literal["completed", "failed"] = "completed"


class _Step(Frozen):
    id: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")
    title: str = Field(min_length=1, max_length=200)
    preflight: dict[str, Expect] = Field(default_factory=dict, max_length=10)
    """Name of a value → what it must be, else the step is skipped."""
    on_failure: OnFailure = OnFailure.CONTINUE


_QUESTIONS = ("object", "count", "metric", "logs", "events")


class CheckStep(_Step):
    """A question that changes nothing. Without `expect` it only provides its outputs."""

    kind: Literal["check"]
    object: ObjectQuestion | None = None
    count: CountQuestion | None = None
    metric: MetricQuestion | None = None
    logs: LogQuestion | None = None
    events: EventQuestion | None = None
    expect: Expect | None = None
    output: OutputName | None = None
    """The name under which later steps find the value."""
    outputs: dict[OutputName, Pointer] = Field(default_factory=dict, max_length=MOST_OUTPUTS)
    """Further fields of the object (of the first that was counted)."""
    supports: Claim | None = None
    counters: Claim | None = None

    @model_validator(mode="after")
    def _asks_once(self) -> CheckStep:
        asked = [name for name in _QUESTIONS if getattr(self, name) is not None]
        if len(asked) != 1:
            raise ValueError(f"needs exactly one of {', '.join(_QUESTIONS)}; it has {len(asked)}")
        if self.outputs and asked[0] not in ("object", "count"):
            raise ValueError("outputs are fields of objects: use output for the value of this check")
        if self.object is not None and self.object.field is None and self.output is not None:
            raise ValueError("output needs object.field: an object as a whole is no value")
        if self.output is not None and self.output in self.outputs:
            raise ValueError(f"output and outputs both provide {self.output!r}: rename one of them")
        return self


class WaitStep(CheckStep):
    """A check that is asked again until it holds, or the seconds are over."""

    kind: Literal["wait-for"]  # type: ignore[assignment]
    seconds: int = Field(20, ge=1, le=LONGEST_WAIT)

    @model_validator(mode="after")
    def _can_change(self) -> WaitStep:
        if self.expect is None:
            raise ValueError("needs expect: what is waited for")
        if self.logs is not None or self.events is not None or (self.count and self.count.of_target):
            raise ValueError(
                "can wait for object, count (without of_target) and metric only: they are re-read"
            )
        return self


class Target(Frozen):
    """The object of an action; by default the incident's workload or node."""

    kind: Template = "{{ workload_kind }}"
    namespace: Template = "{{ namespace }}"
    name: Template = "{{ workload_name }}"


class ActionStep(_Step):
    """One of the product's actions. It is proposed like any other: the same bounds, policy, dry run, approval.

    Without `params` an action that has parameters computes them itself, as it does for its own proposals.
    """

    kind: Literal["action"]
    action: str = Field(pattern=r"^[a-z][a-z_]{0,62}$")
    target: Target = Target()
    params: dict[str, Value] = Field(default_factory=dict, max_length=10)


class NoteStep(_Step):
    """Text for a person, who is not waited for."""

    kind: Literal["note"]
    text: str = Field(min_length=1, max_length=2000)


Step = Annotated[CheckStep | WaitStep | ActionStep | NoteStep, Field(discriminator="kind")]


class Runbook(Frozen):
    """One runbook, as its file says; `source` names the file or address, `origin` where that belongs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    title: str = Field(min_length=1, max_length=200)
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,31}$")
    description: str = Field("", max_length=2000)
    match: Match
    steps: tuple[Step, ...] = Field(min_length=1, max_length=MOST_STEPS)
    origin: Origin = Origin.FOLDER
    source: str = ""


class Problem(Frozen):
    """Why a runbook is not used: where it is wrong, and how to mend it."""

    file: str
    step: str = ""
    field: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}: step {self.step}: " if self.step else f"{self.file}: "
        return f"{where}{self.field}: {self.message}"
