"""Edits of an object that a chart renders, as edits of the chart's values. Only what people have mapped is known:
nobody can tell from an object which value a template made a field of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cortexops.domain.errors import InvalidInput, Rejected
from cortexops.domain.manifest import ManifestEdit, Named, Scalar, Step, name_of

_PART = re.compile(r"\[([^\[\]]+)\]|((?:\\.|[^.\[\]\\])+)")
TAG = ":tag"
"""After the name of a field that holds an image: the part of it behind the colon."""


def parsed(path: str) -> tuple[Step, ...]:
    """`api.resources` or `sidecars[proxy].image`; a dot in a name is written `\\.`. Raises `InvalidInput`."""
    steps: list[Step] = []
    here = 0
    while here < len(path):
        match = _PART.match(path, here)
        if match is None:
            raise InvalidInput("git.repositories.values.fields", f"{path!r} is no place in a values file")
        item, key = match.groups()
        steps.append(Named(name=item) if item else re.sub(r"\\(.)", r"\1", key))
        here = match.end()
        if here < len(path) and path[here] == ".":
            here += 1
            if here == len(path):
                raise InvalidInput("git.repositories.values.fields", f"{path!r} ends with a dot")
    if not steps:
        raise InvalidInput("git.repositories.values.fields", "an empty place")
    return tuple(steps)


def mapped(edits: tuple[ManifestEdit, ...], fields: Mapping[str, str]) -> tuple[ManifestEdit, ...]:
    """The edits of the values. `fields`: field of the object → place in the values; what lies below a field lies
    below its place. Raises `Rejected` and names what no value is known to set."""
    found = [_mapped(edit, fields) for edit in edits]
    unknown = [str(edit) for edit, place in zip(edits, found, strict=True) if place is None]
    if unknown:
        shown = ", ".join(unknown[:5]) + (" …" if len(unknown) > 5 else "")
        raise Rejected(f"no place in the chart's values is configured for {shown} (git.repositories.values)")
    return tuple(place for place in found if place is not None)


def _mapped(edit: ManifestEdit, fields: Mapping[str, str]) -> ManifestEdit | None:
    for depth in range(len(edit.steps), 0, -1):
        field = str(edit.model_copy(update={"steps": edit.steps[:depth]}))
        if field in fields:
            steps = (*parsed(fields[field]), *edit.steps[depth:])
            return edit.model_copy(update={"steps": steps, "called": name_of(edit.steps)})
    place = fields.get(f"{edit}{TAG}")
    if place is None or edit.remove:
        return None
    tags = {"before": _tag(edit, edit.before), "after": _tag(edit, edit.after)}
    if _image(edit.before) != _image(edit.after):
        raise Rejected(f"{edit} changes more than its tag: that is for a person")
    return edit.model_copy(update={"steps": parsed(place), **tags})


def _image(reference: Scalar) -> str:
    return str(reference).rpartition(":")[0]


def _tag(edit: ManifestEdit, reference: Scalar) -> str:
    tag = str(reference).rpartition(":")[2]
    if "@" in str(reference) or "/" in tag or not _image(reference):
        raise Rejected(f"{edit} is named by something else than a tag: that is for a person")
    return tag
