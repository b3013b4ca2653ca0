"""From a document to a runbook: strict, and every complaint names step, field and how to mend it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from cortexops.domain.action import ActionSpec
from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import KINDS
from cortexops.domain.runbook import (
    SCHEMA,
    ActionStep,
    CheckStep,
    Claim,
    Expect,
    NoteStep,
    Origin,
    Problem,
    Runbook,
    Step,
)
from cortexops.domain.runbook_facts import FACTS
from cortexops.domain.runbook_template import check_query, is_name, names_in

UNREADABLE_KINDS = frozenset({"Secret", "Event", "PodMetrics"})
"""Kinds that no runbook asks for: secrets stay where they are, events and measures have their own questions."""
_MOST_PROBLEMS = 20
_KINDS_OF_STEP = ("check", "wait-for", "action", "note")


def read_runbook(
    document: Any, specs: Mapping[str, ActionSpec], *, source: str, origin: Origin = Origin.FOLDER
) -> tuple[Runbook | None, list[Problem]]:
    """The runbook, or None and what is wrong with it. `specs` are the actions that exist, by type."""
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        return None, [
            _problem(source, "file", "must be a mapping with schema, id, title, version, match, steps")
        ]
    content = dict(document)
    if content.pop("schema", None) != SCHEMA:
        return None, [
            _problem(source, "schema", f"must be {SCHEMA}: write `schema: {SCHEMA}` on the first line")
        ]
    if "origin" in content or "source" in content:
        return None, [
            _problem(source, "origin", "a file does not say itself where it comes from: leave it out")
        ]
    try:
        runbook = Runbook(**content, origin=origin, source=source)
    except ValidationError as error:
        return None, list(_complaints(error, content, source))
    problems = [
        Problem(file=source, step=step, field=field, message=message)
        for step, field, message in _meaning(runbook, specs)
    ][:_MOST_PROBLEMS]
    return (None, problems) if problems else (runbook, [])


def _problem(source: str, field: str, message: str) -> Problem:
    return Problem(file=source, field=field, message=message)


# -- form ----------------------------------------------------------------------------------------------


def _complaints(error: ValidationError, content: dict[str, Any], source: str) -> Iterator[Problem]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    for one in found[:_MOST_PROBLEMS]:
        if one["type"] == "too_short" and one["loc"] == ("steps",) and content.get("steps"):
            continue  # the steps are there, and wrong: that is said of each
        path = [part for part in one["loc"] if part != "[key]"]
        step = ""
        if path[:1] == ["steps"] and len(path) > 1 and isinstance(path[1], int):
            step = _step_name(content, path[1])
            path = path[2:]
            if path[:1] and path[0] in _KINDS_OF_STEP:
                path = path[1:]
        field = ".".join(str(part) for part in path if not _is_branch(part)) or ("step" if step else "file")
        yield Problem(file=source, step=step, field=field, message=_advice(one))


def _is_branch(part: Any) -> bool:
    """Names that the validator gives to the alternatives of a value."""
    return isinstance(part, str) and (part in ("bool", "int", "float", "str") or "[" in part)


def _step_name(content: dict[str, Any], index: int) -> str:
    steps = content.get("steps")
    step = steps[index] if isinstance(steps, list) and index < len(steps) else None
    name = step.get("id") if isinstance(step, dict) else None
    return name[:63] if isinstance(name, str) and name.isprintable() and name else f"number {index + 1}"


def _advice(one: Mapping[str, Any]) -> str:
    kind, message = str(one["type"]), str(one["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return "is not known here: remove it, or see docs/runbooks.md for the fields"
    if kind == "missing":
        return "is missing: add it"
    if kind == "string_type":
        return "must be text: put it in quotes"
    if kind.startswith("union_tag"):
        return f"kind must be one of {', '.join(_KINDS_OF_STEP)}"
    return message[:1].lower() + message[1:]


# -- meaning -------------------------------------------------------------------------------------------

_Complaint = tuple[str, str, str]


def _meaning(runbook: Runbook, specs: Mapping[str, ActionSpec]) -> Iterator[_Complaint]:
    """What the form alone does not show: ids, the order of values, actions, queries."""
    known: dict[str, str] = {}
    later = {name: step.id for step in runbook.steps for name in _provides(step)}
    seen: set[str] = set()
    for step in runbook.steps:
        if step.id in seen:
            yield step.id, "id", "is used by two steps: give each its own"
        seen.add(step.id)
        for field, names in _names(step):
            if isinstance(names, InvalidInput):
                yield step.id, field, str(names).partition(": ")[2]
                continue
            for name in names:
                if not is_name(name, frozenset(FACTS) | frozenset(known)):
                    yield step.id, field, _unknown(name, step, later)
        for name in _provides(step):
            if name in FACTS or name in known:
                owner = f"step {known[name]}" if name in known else "the product"
                yield step.id, "outputs", f"{name!r} is provided by {owner} already: choose another name"
            known.setdefault(name, step.id)
        if isinstance(step, CheckStep):
            yield from _readable(step)
        if isinstance(step, ActionStep):
            yield from _possible(step, specs)


def _unknown(name: str, step: Step, later: Mapping[str, str]) -> str:
    if later.get(name) == step.id:
        return f"{name!r} is an output of this very step: a step cannot use what it provides"
    if name in later:
        return f"{name!r} comes from the later step {later[name]}: move that step before this one"
    return f"{name!r} is not known: use labels.<name>, an output of an earlier step, or one of {', '.join(FACTS)}"


def _provides(step: Step) -> list[str]:
    if not isinstance(step, CheckStep):
        return []
    return [*([step.output] if step.output else []), *step.outputs]


def _names(step: Step) -> Iterator[tuple[str, list[str] | InvalidInput]]:
    """(field, names that its template uses) of every template in the step."""
    for name, expect in step.preflight.items():
        yield f"preflight.{name}", [name]
        yield from _expected(f"preflight.{name}", expect)
    for field, template in _templates(step):
        try:
            yield field, (check_query if field == "metric.query" else names_in)(template)
        except InvalidInput as error:
            yield field, error
    if isinstance(step, CheckStep):
        if step.expect is not None:
            yield from _expected("expect", step.expect)
        for field, expect in step.count.where.items() if step.count else ():
            yield from _expected(f"count.where.{field}", expect)


def _expected(field: str, expect: Expect) -> Iterator[tuple[str, list[str] | InvalidInput]]:
    for name in sorted(expect.model_fields_set):
        value = getattr(expect, name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, str):
                try:
                    yield f"{field}.{name}", names_in(one)
                except InvalidInput as error:
                    yield f"{field}.{name}", error


def _templates(step: Step) -> Iterator[tuple[str, str]]:
    if isinstance(step, NoteStep):
        yield "text", step.text
    elif isinstance(step, ActionStep):
        for part in ("kind", "namespace", "name"):
            yield f"target.{part}", getattr(step.target, part)
        for name, value in step.params.items():
            if isinstance(value, str):
                yield f"params.{name}", value
    else:
        for label, question in (("object", step.object), ("count", step.count)):
            for part in ("kind", "namespace", "name"):
                if question is not None and hasattr(question, part):
                    yield f"{label}.{part}", getattr(question, part)
        if step.metric is not None:
            yield "metric.query", step.metric.query
        if step.logs is not None:
            yield "logs.contains", step.logs.contains
            if step.logs.container is not None:
                yield "logs.container", step.logs.container
        for label, claim in (("supports", step.supports), ("counters", step.counters)):
            if claim is not None:
                yield from (
                    (f"{label}.{part}", getattr(claim, part)) for part in ("kind", "namespace", "name")
                )


def _readable(step: CheckStep) -> Iterator[_Complaint]:
    claims: list[tuple[str, Claim | None]] = [("supports", step.supports), ("counters", step.counters)]
    for field, kind in (
        ("object.kind", step.object.kind if step.object else None),
        ("count.kind", step.count.kind if step.count else None),
        *((f"{name}.kind", claim.kind if claim else None) for name, claim in claims),
    ):
        if kind is None or "{{" in kind:
            continue
        if kind not in KINDS:
            yield step.id, field, f"{kind!r} is no kind that the product reads"
        elif kind in UNREADABLE_KINDS and not field.startswith(("supports", "counters")):
            yield step.id, field, f"a runbook does not read {kind}s"
    if step.expect is None and (step.supports or step.counters):
        yield (
            step.id,
            "supports" if step.supports else "counters",
            "needs expect: only an outcome says something",
        )


def _possible(step: ActionStep, specs: Mapping[str, ActionSpec]) -> Iterator[_Complaint]:
    spec = specs.get(step.action)
    if spec is None:
        yield step.id, "action", f"{step.action!r} is no action: use one of {', '.join(sorted(specs))}"
        return
    if "{{" not in step.target.kind and step.target.kind not in spec.kinds:
        yield step.id, "target.kind", f"{step.action} acts on {', '.join(spec.kinds)}"
    for name in sorted(step.params.keys() - spec.params.keys()):
        takes = ", ".join(spec.params) or "none"
        yield step.id, f"params.{name}", f"is no parameter of {step.action} (it takes {takes})"
