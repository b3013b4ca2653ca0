"""Change: an exact edit of one object, its preconditions, its inverse, and what people are shown of it.

A change is data. It is computed from the live object, sent with `test` operations for every value that
the decision rested on, and can be undone field by field as long as the fields still hold what was written.
"""

from __future__ import annotations

import copy
import json
import re
from enum import StrEnum
from typing import Any

from pydantic import Field

from cortexops.domain.ids import digest
from cortexops.domain.resource import JSON, Frozen, ResourceRef

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")

OPERATION_ANNOTATION = "cortexops.io/operation"
"""The object carries the id of the last operation that changed it, so that a crash can be told apart."""


class Verb(StrEnum):
    """What is sent. Each has its own way to be judged, done and taken back (`activities.means`)."""

    PATCH = "patch"
    DELETE = "delete"
    CREATE = "create"
    EVICT = "evict"
    DRAIN = "drain"  # a patch of the node, then the eviction of `Change.pods`
    PROPOSE = "propose"  # a pull request; the cluster is not written to
    NOTHING = "nothing"  # a person takes over


KEPT_BY_OTHERS = frozenset({Verb.DELETE, Verb.EVICT, Verb.PROPOSE, Verb.NOTHING})
"""What leaves nothing on an object of the cluster that a look at it could take back."""


class FieldEdit(Frozen):
    """One field: its JSON pointer, and what it holds before and after. `…_present` False: it is not there."""

    path: str
    before: Any = None
    before_present: bool = True
    after: Any = None
    after_present: bool = True
    made: str = ""
    """The outermost map that has to be made to hold the field; empty when its place is there."""


class PodRef(Frozen):
    """One very pod: a successor of the same name has another uid."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Change(Frozen):
    """One call to the API server (a drain: one patch, and one eviction for each of `pods`)."""

    verb: Verb
    target: ResourceRef
    uid: str
    generation: int | None = None
    edits: tuple[FieldEdit, ...] = ()
    expect: tuple[FieldEdit, ...] = ()
    """Values that must still hold though they are not changed (for example a container's name)."""
    operation_id: str = ""
    body: JSON | None = None
    """Of CREATE: the new object without its name, which is made of the operation's id."""
    pods: tuple[PodRef, ...] = ()
    """Evicted after the patch, each once: of a DRAIN those of the node, else those that run without it."""
    lasting: str = ""
    """Why nobody can take it back once it is made (a volume does not shrink); empty: it has an inverse."""
    outcome: str = ""
    """Digest of what the dry run answered (`domain.stored`); empty: only the edits can be compared."""


class Undo(StrEnum):
    """What the live object says about a change that is to be undone."""

    POSSIBLE = "possible"
    ALREADY = "already"
    FOREIGN = "foreign"
    GONE = "gone"
    LASTING = "lasting"  # it is in place, and there is no way back


class UndoPlan(Frozen):
    """The inverse change, or why there is none; `foreign` lists fields that somebody else changed since."""

    verdict: Undo
    change: Change | None = None
    foreign: tuple[FieldEdit, ...] = ()


class DiffLine(Frozen):
    """One leaf that differs; `before`/`after` are JSON text, empty where the leaf is absent."""

    path: str
    before: str = ""
    after: str = ""


def pointer(*parts: str | int) -> str:
    """A JSON pointer (RFC 6901) from its unescaped parts."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _parts(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def lookup(document: Any, path: str) -> tuple[bool, Any]:
    """Whether the pointer leads to a value in the document, and the value."""
    here = document
    for part in _parts(path):
        if isinstance(here, dict) and part in here:
            here = here[part]
        elif isinstance(here, list) and _INDEX.fullmatch(part) and int(part) < len(here):
            here = here[int(part)]
        else:
            return False, None
    return True, here


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal. Unlike in Python, `true` is not 1 and `false` is not 0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def holds(document: Any, path: str, present: bool, value: Any) -> bool:
    """Whether the field is in the document with that value, or is absent as it should be."""
    there, now = lookup(document, path)
    return there == present and (not present or same(now, value))


def edit(document: JSON, path: str, after: Any, *, remove: bool = False) -> FieldEdit:
    """The edit that sets (or removes) the field, with what it holds now."""
    present, before = lookup(document, path)
    missing = [] if present or remove else _missing_parents(document, path)
    return FieldEdit(
        path=path,
        before=copy.deepcopy(before),
        before_present=present,
        after=None if remove else after,
        after_present=not remove,
        made=missing[0] if missing else "",
    )


def expectation(document: JSON, path: str) -> FieldEdit:
    """The field as it is now, as a precondition."""
    present, value = lookup(document, path)
    return FieldEdit(path=path, before=value, before_present=present, after=value, after_present=present)


def _nearest_present_ancestor(document: JSON, path: str) -> str:
    """The longest prefix of the pointer that leads somewhere: what can be tested when the field is absent."""
    parts = _parts(path)
    while parts:
        parts.pop()
        candidate = pointer(*parts)
        if lookup(document, candidate)[0]:
            return candidate
    return ""


def _absence(document: JSON, path: str) -> tuple[str, Any]:
    """What to test, and for which value, so that the field is still absent."""
    ancestor = _nearest_present_ancestor(document, path)
    above = lookup(document, ancestor)[1]
    if not isinstance(above, dict):
        return ancestor, above
    return ancestor + pointer(_parts(path)[len(_parts(ancestor))]), None


def _can_hold(document: JSON, path: str) -> bool:
    """Whether the field could be put there: what is above it are maps, or maps that can be made."""
    ancestor = _nearest_present_ancestor(document, path)
    above = lookup(document, ancestor)[1]
    if isinstance(above, list):
        rest = _parts(path)[len(_parts(ancestor)) :]
        return len(rest) == 1 and rest[0] == str(len(above))
    return isinstance(above, dict)


def _missing_parents(document: JSON, path: str) -> list[str]:
    """Pointers of maps that must be created before the field can be added, outermost first."""
    parts = _parts(path)[:-1]
    missing = []
    for depth in range(1, len(parts) + 1):
        candidate = pointer(*parts[:depth])
        if not lookup(document, candidate)[0]:
            missing.append(candidate)
    return missing


def json_patch(change: Change, live: JSON) -> list[JSON]:
    """The JSON Patch (RFC 6902): tests first, then the edits, then the operation id.

    The tests cover the uid, the generation, every expectation and the old value of every edited field. What
    the decision did not rest on may change meanwhile: a node's heartbeat moves its resourceVersion only.
    That a field is absent is a test of `null` at the outermost map or field that is missing, as API servers
    read it (RFC 6902 leaves it open); a list that has to grow is tested whole. The map of annotations is
    tested so as well: adding one to an object without any must not wipe out one that came meanwhile.
    `live` must be the object that the change was computed from, or one equal to it there.
    """
    tests: list[JSON] = [{"op": "test", "path": "/metadata/uid", "value": change.uid}]
    if change.generation is not None:
        tests.append({"op": "test", "path": "/metadata/generation", "value": change.generation})
    tested = set()
    marker = pointer("metadata", "annotations", OPERATION_ANNOTATION)
    marks = [expectation(live, pointer("metadata", "annotations"))]
    absent = [field for field in marks if change.operation_id and not field.before_present]
    for field in (*change.expect, *change.edits, *absent):
        path, value = (field.path, field.before) if field.before_present else _absence(live, field.path)
        if path not in tested:
            tested.add(path)
            tests.append({"op": "test", "path": path, "value": value})
    operations: list[JSON] = []
    made: set[str] = set()

    def put(path: str, present: bool, value: Any) -> None:
        for parent in _missing_parents(live, path):
            if parent not in made:
                made.add(parent)
                operations.append({"op": "add", "path": parent, "value": {}})
        operations.append({"op": "replace" if present else "add", "path": path, "value": value})

    for field in change.edits:
        if field.after_present:
            put(field.path, field.before_present, field.after)
        elif field.before_present:
            operations.append({"op": "remove", "path": field.path})
    if change.operation_id:
        put(marker, lookup(live, marker)[0], change.operation_id)
    return tests + operations


def carries(live: JSON, operation: str) -> bool:
    """Whether the object says that this operation was the last of ours that changed it."""
    annotations = live.get("metadata", {}).get("annotations") or {}
    return bool(operation) and annotations.get(OPERATION_ANNOTATION) == operation


def as_written(change: Change, answered: JSON) -> Change:
    """The change with its `after` values as the server normalised them, which is what undo compares with."""
    edits = []
    for field in change.edits:
        present, value = lookup(answered, field.path)
        edits.append(field.model_copy(update={"after": value if present else None, "after_present": present}))
    return change.model_copy(update={"edits": tuple(edits)})


def undo(change: Change, live: JSON | None, *, operation: str) -> UndoPlan:
    """How to take the change back without trampling on others.

    Each field is compared three ways: it holds what we wrote (restore it), it holds what was there before
    (nothing to do), or something else (somebody else changed it: stop, restore nothing, and say which).
    A field that is absent as we left it, but whose place is gone (a map above it became a plain value), is
    somebody else's as well.
    In `foreign`, `before` is what the field holds now and `after` what we expected there. Maps that were
    made only to hold an added field go with it, unless somebody else has put something into them.

    An object that the change created is deleted again while it still carries the operation's id.
    """
    if change.verb is Verb.CREATE:
        return _uncreate(change, live)
    if live is None or live.get("metadata", {}).get("uid") != change.uid:
        return UndoPlan(verdict=Undo.GONE)
    restore: list[FieldEdit] = []
    foreign: list[FieldEdit] = []
    for field in change.edits:
        present, now = lookup(live, field.path)
        if holds(live, field.path, field.after_present, field.after) and (
            present or not field.before_present or _can_hold(live, field.path)
        ):
            restore.append(
                FieldEdit(
                    path=field.path,
                    before=now,
                    before_present=present,
                    after=field.before,
                    after_present=field.before_present,
                )
            )
        elif not holds(live, field.path, field.before_present, field.before):
            foreign.append(field.model_copy(update={"before": now, "before_present": present}))
    if foreign:
        return UndoPlan(verdict=Undo.FOREIGN, foreign=tuple(foreign))
    if not restore:
        return UndoPlan(verdict=Undo.ALREADY)
    if change.lasting:
        return UndoPlan(verdict=Undo.LASTING)
    expect = []
    for field in change.expect:
        if not holds(live, field.path, field.before_present, field.before):
            present, now = lookup(live, field.path)
            moved = field.model_copy(update={"before": now, "before_present": present})
            return UndoPlan(verdict=Undo.FOREIGN, foreign=(moved,))
        expect.append(field)
    inverse = Change(
        verb=Verb.PATCH,
        target=change.target,
        uid=change.uid,
        generation=live["metadata"].get("generation"),
        edits=(*reversed(restore), *_emptied(change, live, restore)),
        expect=tuple(expect),
        operation_id=operation,
    )
    return UndoPlan(verdict=Undo.POSSIBLE, change=inverse)


def _uncreate(change: Change, live: JSON | None) -> UndoPlan:
    if live is None:
        return UndoPlan(verdict=Undo.ALREADY)
    if not carries(live, change.operation_id):
        return UndoPlan(verdict=Undo.GONE)
    deletion = Change(verb=Verb.DELETE, target=change.target, uid=str(live["metadata"].get("uid") or ""))
    return UndoPlan(verdict=Undo.POSSIBLE, change=deletion)


def _emptied(change: Change, live: JSON, restore: list[FieldEdit]) -> list[FieldEdit]:
    """Removals of maps that the change made and that hold nothing once the fields are gone, inner ones first."""
    left = copy.deepcopy(live)
    gone = {field.path for field in restore if not field.after_present}
    for path in gone:
        _discard(left, path)
    removals: list[FieldEdit] = []
    for field in change.edits:
        path = field.path
        while field.made and field.path in gone and path != field.made:
            path = path.rpartition("/")[0]
            if lookup(left, path) != (True, {}):
                break
            _discard(left, path)
            removals.append(
                FieldEdit(path=path, before=copy.deepcopy(lookup(live, path)[1]), after_present=False)
            )
    return removals


def _discard(document: JSON, path: str) -> None:
    above, _, _ = path.rpartition("/")
    parent = lookup(document, above)[1]
    if isinstance(parent, dict):
        parent.pop(_parts(path)[-1], None)


_NOISE = (
    "/metadata/managedFields",
    "/metadata/resourceVersion",
    "/metadata/generation",
    "/metadata/uid",
    "/metadata/creationTimestamp",
    "/status",
    pointer("metadata", "annotations", OPERATION_ANNOTATION),
)


def diff(before: Any, after: Any, path: str = "") -> list[DiffLine]:
    """Leaf by leaf what differs, bookkeeping fields left out, ordered by path.

    Lists of different length are one leaf. The text may hold secrets: `snapshot.shown` masks it for people.
    """
    if path in _NOISE or same(before, after):
        return []
    if isinstance(before, dict) and isinstance(after, dict):
        lines: list[DiffLine] = []
        for key in sorted(before.keys() | after.keys()):
            there = path + pointer(key)
            if there in _NOISE:
                continue
            if key in before and key in after:
                lines += diff(before[key], after[key], there)
            else:
                lines += _leaf(there, key in before, before.get(key), after.get(key))
        return lines
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            line
            for i, pair in enumerate(zip(before, after, strict=True))
            for line in diff(*pair, f"{path}/{i}")
        ]
    return [DiffLine(path=path, before=_text(before), after=_text(after))]


def _leaf(path: str, was_there: bool, before: Any, after: Any) -> list[DiffLine]:
    value = before if was_there else after
    if path == "/metadata/annotations" and isinstance(value, dict) and OPERATION_ANNOTATION in value:
        value = {key: inner for key, inner in value.items() if key != OPERATION_ANNOTATION}
        if not value:
            return []
    text = _text(value)
    return [DiffLine(path=path, before=text if was_there else "", after="" if was_there else text)]


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


class Preview(Frozen):
    """What the API server answered to the dry run, as approvers see it."""

    diff: tuple[DiffLine, ...] = ()
    generation: int | None = None
    uid: str = ""
    warnings: tuple[str, ...] = Field(default=())

    def approval_digest(self, policy_revision: str) -> str:
        """What an approval is bound to: the diff, the object's generation, the policy's revision."""
        return digest(
            {
                "diff": [line.model_dump() for line in self.diff],
                "generation": self.generation,
                "uid": self.uid,
                "policy": policy_revision,
            }
        )
