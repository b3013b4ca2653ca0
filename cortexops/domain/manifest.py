"""From a change of the live object to one of its manifest in Git: the same fields, found by name instead of place."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic import Field

from cortexops.domain.change import FieldEdit, lookup
from cortexops.domain.errors import InvalidInput, Rejected
from cortexops.domain.kubernetes.values import text
from cortexops.domain.quantity import parse_quantity
from cortexops.domain.resource import JSON, Frozen, ResourceRef

Scalar = str | int | float | bool | None


class Fate(StrEnum):
    """What became of a proposal."""

    NONE = "none"  # it was not made
    HALF = "half"  # the branch is there, the pull request is not
    OPEN = "open"
    MERGED = "merged"
    CLOSED = "closed"
    FOREIGN = "foreign"  # the branch of that name holds something else


class Named(Frozen):
    """The item of a list that has this name."""

    name: str

    def __str__(self) -> str:
        return f"[{self.name}]"


Step = str | Named


def name_of(steps: Sequence[Step]) -> str:
    """The name under which the value goes that the steps lead to: its key, or that of its environment variable."""
    last = steps[-1] if steps else ""
    above = steps[-2] if len(steps) > 1 else ""
    if isinstance(last, Named):
        return last.name
    return above.name if last == "value" and isinstance(above, Named) else last


class ManifestEdit(Frozen):
    """One plain value: where, what the cluster has there, and what is to stand there. `remove` takes the field
    away."""

    steps: tuple[Step, ...]
    before: Scalar = None
    before_present: bool = True
    after: Scalar = None
    remove: bool = False
    called: str = Field(default="", exclude=True)
    """Of a value of a chart: the name under which the object has it, which may tell more than the place."""

    def __str__(self) -> str:
        return "".join(str(step) if isinstance(step, Named) else f".{step}" for step in self.steps).lstrip(
            "."
        )


class Proposal(Frozen):
    """What is to be changed in Git: the object, the application it belongs to, and the edits."""

    target: ResourceRef
    app: str = ""
    app_namespace: str = ""
    """Of a Flux HelmRelease: where it is."""
    chart: bool = False
    """A Helm chart renders the object: the edits are made in the chart's values."""
    edits: tuple[ManifestEdit, ...]


def manifest_edits(edits: tuple[FieldEdit, ...], live: JSON) -> tuple[ManifestEdit, ...]:
    """The edits value by value. Raises `Rejected` for what has no plain form (lists that grow or shrink)."""
    found: list[ManifestEdit] = []
    for edit in edits:
        if not edit.after_present:
            found += _removed(edit, live)
        elif edit.before_present:
            found += _leaves(edit.path, edit.before, edit.after, live)
        else:
            found += _leaves(edit.path, _ABSENT, edit.after, live)
    return tuple(found)


class _Absent:
    pass


_ABSENT = _Absent()


def _removed(edit: FieldEdit, live: JSON) -> list[ManifestEdit]:
    if isinstance(edit.before, dict | list):
        raise Rejected(f"{edit.path} is more than one value: taking it away in Git is for a person")
    return [ManifestEdit(steps=_steps(edit.path, live), before=edit.before, remove=True)]


def _leaves(path: str, before: object, after: object, live: JSON) -> list[ManifestEdit]:
    if isinstance(after, dict) and (isinstance(before, dict) or before is _ABSENT):
        known = before if isinstance(before, dict) else {}
        gone = known.keys() - after.keys()
        if gone - {"creationTimestamp"}:
            raise Rejected(f"{path} would lose {', '.join(sorted(gone))}: doing that in Git is for a person")
        return [
            leaf
            for key in sorted(after)
            for leaf in _leaves(f"{path}/{_escaped(key)}", known.get(key, _ABSENT), after[key], live)
        ]
    if isinstance(after, list) and isinstance(before, list) and len(after) == len(before):
        pairs = zip(before, after, strict=True)
        return [leaf for place, pair in enumerate(pairs) for leaf in _leaves(f"{path}/{place}", *pair, live)]
    if before == after and type(before) is type(after):
        return []
    if isinstance(after, dict | list) or isinstance(before, dict | list):
        raise Rejected(f"{path} changes its form: writing that into Git is for a person")
    present = before is not _ABSENT
    return [
        ManifestEdit(
            steps=_steps(path, live),
            before=before if present else None,
            before_present=present,
            after=after,
        )
    ]


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _steps(path: str, live: JSON) -> tuple[Step, ...]:
    """The pointer's parts, places in lists replaced by the names of what stands there."""
    steps: list[Step] = []
    here = ""
    for part in path.split("/")[1:]:
        above = lookup(live, here)[1]
        here = f"{here}/{part}"
        if isinstance(above, list):
            name = text(lookup(live, here)[1], "name")
            if not name:
                raise Rejected(f"{here} has no name by which it could be found in Git")
            steps.append(Named(name=name))
        else:
            steps.append(part.replace("~1", "/").replace("~0", "~"))
    return tuple(steps)


def equal(one: Scalar, other: Scalar) -> bool:
    """Whether two plain values mean the same to Kubernetes: `1Gi` and `1024Mi`, `"2"` and 2."""
    if one == other and isinstance(one, bool) is isinstance(other, bool):
        return True
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return False
    try:
        return parse_quantity(one) == parse_quantity(other)
    except InvalidInput:
        return False
