"""Editing a YAML file value by value: everything else in it, comments and order too, stays byte for byte.

The text is parsed for the places of its values only; nothing is written anew but the values themselves.
What cannot be edited so (templates, values that an anchor shares) is refused rather than guessed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import yaml

from cortexops.domain.errors import Rejected
from cortexops.domain.manifest import ManifestEdit, Named, Scalar, equal
from cortexops.domain.resource import ResourceRef
from cortexops.domain.snapshot import masked_scalar

_LONGEST = 1_000_000  # characters of a file
_MERGE = "tag:yaml.org,2002:merge"


class Place(NamedTuple):
    """One document of a file that is the object."""

    root: yaml.MappingNode
    shared: frozenset[int]


def find(text: str, target: ResourceRef) -> list[Place]:
    """The documents of the text that describe the object. Raises `Rejected` when it is no plain YAML."""
    found: list[Place] = []
    for document in _documents(text):
        for root in _objects(document):
            metadata = _child(root, "metadata")
            if not isinstance(metadata, yaml.MappingNode) or _value(_child(root, "kind")) != target.kind:
                continue
            namespace = _child(metadata, "namespace")
            here = namespace is None or _value(namespace) == target.namespace
            if _value(_child(metadata, "name")) == target.name and here:
                found.append(Place(root, _shared(root)))
    return found


def edited(text: str, target: ResourceRef, edits: tuple[ManifestEdit, ...]) -> str:
    """The text with the edits made. Raises `Rejected` when the file says something else than the cluster had."""
    return _edited(text, lambda now: _only(now, target), edits)


def edited_values(text: str, edits: tuple[ManifestEdit, ...]) -> str:
    """The same for a file that is one map of values. What it leaves to the chart's defaults is added."""
    return _edited(text, _values, edits)


def overridden(text: str, release: ResourceRef) -> str:
    """What in the manifest of a Flux HelmRelease goes over its inline values; empty: nothing."""
    spec = _child(_only(text, release).root, "spec")
    if _child(spec, "postRenderers") is not None:
        return "spec.postRenderers"
    sources = _child(spec, "valuesFrom")
    items = sources.value if isinstance(sources, yaml.SequenceNode) else []
    return "spec.valuesFrom with a targetPath" if any(_child(one, "targetPath") for one in items) else ""


def _edited(text: str, place_in: Callable[[str], Place], edits: tuple[ManifestEdit, ...]) -> str:
    for edit in edits:  # each on the outcome of the one before: they may need the same new map
        change = _change(text, place_in(text), edit)
        if change is not None:
            start, end, new = change
            text = text[:start] + new + text[end:]
    place = place_in(text)
    if any(_change(text, place, edit) is not None for edit in edits):
        raise Rejected("the file would not say what it should: it is left alone")
    return text


def _documents(text: str) -> list[yaml.Node]:
    if len(text) > _LONGEST:
        raise Rejected("the file is too large to be edited")
    try:
        return list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError):
        raise Rejected("the file is no plain YAML (a template?)") from None


def _values(text: str) -> Place:
    documents = [one for one in _documents(text) if one is not None]
    if len(documents) != 1 or not isinstance(documents[0], yaml.MappingNode):
        raise Rejected("the file is no single map of values")
    root = documents[0]
    if _child(root, "apiVersion") is not None and _child(root, "kind") is not None:
        raise Rejected("the file is a manifest of another object, no values of a chart")
    return Place(root, _shared(root))


def _only(text: str, target: ResourceRef) -> Place:
    found = find(text, target)
    if len(found) != 1:
        raise Rejected(f"{target} stands {len(found)} times in the file")
    return found[0]


def _objects(document: yaml.Node | None) -> list[yaml.MappingNode]:
    """The document, or the items of a List in it."""
    if not isinstance(document, yaml.MappingNode):
        return []
    items = _child(document, "items")
    if _value(_child(document, "kind")) == "List" and isinstance(items, yaml.SequenceNode):
        return [item for item in items.value if isinstance(item, yaml.MappingNode)]
    return [document]


def _shared(root: yaml.Node) -> frozenset[int]:
    """Nodes that stand in more than one place, by an anchor and its aliases."""
    counts: Counter[int] = Counter()

    def walk(node: yaml.Node) -> None:
        counts[id(node)] += 1
        if counts[id(node)] > 1:
            return
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.tag == _MERGE:
                    counts[id(value)] += 1
                walk(value)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                walk(item)

    walk(root)
    return frozenset(node for node, count in counts.items() if count > 1)


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name and isinstance(value, yaml.Node):
                return value
    return None


def _value(node: yaml.Node | None) -> Scalar:
    if not isinstance(node, yaml.ScalarNode):
        return None
    loader = yaml.SafeLoader("")
    try:
        value = loader.construct_object(node)
    finally:
        loader.dispose()
    return value if isinstance(value, str | int | float | bool) else None if value is None else node.value


def _change(text: str, place: Place, edit: ManifestEdit) -> tuple[int, int, str] | None:
    """Which part of the text is to be replaced by what; None when it says so already."""
    here: yaml.Node = place.root
    parent = here
    for depth, step in enumerate(edit.steps):
        if id(here) in place.shared:
            raise Rejected(f"{edit} is shared by an anchor in the file: changing it is for a person")
        below = _named(here, step) if isinstance(step, Named) else _child(here, step)
        if below is None:
            return None if edit.remove else _insertion(here, edit, edit.steps[depth:])
        parent, here = here, below
    if id(here) in place.shared:
        raise Rejected(f"{edit} is shared by an anchor in the file: changing it is for a person")
    if not isinstance(here, yaml.ScalarNode):
        raise Rejected(f"{edit} is no plain value in the file")
    stands = _value(here)
    if not edit.remove and equal(stands, edit.after):
        return None
    if edit.before_present and not equal(stands, edit.before):
        raise Rejected(
            f"{edit} is {_told(edit, stands)} in Git and {_told(edit, edit.before)} in the cluster: they differ"
        )
    if not edit.before_present:
        raise Rejected(f"{edit} is {_told(edit, stands)} in Git and absent in the cluster: they differ")
    if edit.remove:
        return _removal(text, parent, here, edit)
    return here.start_mark.index, here.end_mark.index, _spelled(edit.after, here)


def _told(edit: ManifestEdit, value: Scalar) -> str:
    return json.dumps(masked_scalar(edit, value), ensure_ascii=False)[:80]


def _named(node: yaml.Node, step: Named) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if isinstance(item, yaml.Node) and _value(_child(item, "name")) == step.name:
                return item
    raise Rejected(f"no item named {step.name} is in the file")


def _spelled(value: Scalar, like: yaml.ScalarNode | None = None) -> str:
    """The value as YAML, in the quotes of what stood there."""
    if not isinstance(value, str):
        return json.dumps(value)
    if like is not None and like.style in ("|", ">"):
        raise Rejected("a block of text is changed by a person")
    if like is not None and like.style == "'" and "\n" not in value:
        return "'" + value.replace("'", "''") + "'"
    plain = like is None or like.style is None
    return value if plain and _plain(value) else json.dumps(value, ensure_ascii=True)


def _plain(value: str) -> bool:
    """Whether the bare word is read as that very text."""
    try:
        return bool(value) and bool(yaml.safe_load(f"k: {value}") == {"k": value}) and "\n" not in value
    except yaml.YAMLError:
        return False


def _insertion(node: yaml.Node, edit: ManifestEdit, steps: tuple[str | Named, ...]) -> tuple[int, int, str]:
    """The lines that add the missing fields at the head of the map they belong to, in its own style."""
    keys = [step for step in steps if isinstance(step, str)]
    if len(keys) != len(steps) or not isinstance(node, yaml.MappingNode):
        raise Rejected(f"{edit} has no place in the file")
    if node.flow_style:
        nested = _spelled(edit.after)
        for key in reversed(keys[1:]):
            nested = f"{{{_spelled(key)}: {nested}}}"
        start = node.start_mark.index + 1
        return start, start, f"{_spelled(keys[0])}: {nested}" + (", " if node.value else "")
    if not node.value:
        raise Rejected(f"{edit} has no place in the file")
    column = node.start_mark.column
    lines = [f"{' ' * (column + 2 * i)}{_spelled(key)}:" for i, key in enumerate(keys)]
    lines[-1] += f" {_spelled(edit.after)}"
    start = node.start_mark.index  # the first key, where the indentation is written already
    return start, start, "\n".join(lines)[column:] + "\n" + " " * column


def _removal(
    text: str, parent: yaml.Node, value: yaml.ScalarNode, edit: ManifestEdit
) -> tuple[int, int, str]:
    assert isinstance(parent, yaml.MappingNode)
    entries = [(key, node) for key, node in parent.value if node is value]
    key = entries[0][0]
    start = text.rfind("\n", 0, key.start_mark.index) + 1
    end = text.find("\n", value.end_mark.index)
    alone = text[start : key.start_mark.index].strip() == ""
    if parent.flow_style or not alone or len(parent.value) == 1 or end < 0:
        raise Rejected(f"{edit} cannot be taken out of the file by itself: that is for a person")
    return start, end + 1, ""
