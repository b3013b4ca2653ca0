"""What is kept and shown of a change: snapshots, diffs with secrets masked, commands to restore by hand."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from typing import Any

from cortexops.domain.change import Change, DiffLine, FieldEdit, Verb, diff, lookup, pointer
from cortexops.domain.manifest import ManifestEdit, Named, Proposal, Scalar, Step, name_of
from cortexops.domain.redaction import BY_NAME, redact_value
from cortexops.domain.resource import JSON

KEPT_VALUES = pointer("metadata", "annotations", "cortexops.io/before-last-applied")
"""Where a Secret itself keeps the values that a change of ours replaced. The name has `last-applied` in it:
readers that drop kubectl's annotation of that name, because it repeats the values, drop this one too."""
_SHORT = 4096  # characters of a value that a snapshot keeps
_PLACE_IN_LIST = re.compile(r"/[0-9]+\Z")
_OF_SECRETS = ("/data", "/stringData", "/metadata/annotations")


def snapshot_of(live: JSON) -> JSON:
    """Replicas, images, resources and versions of the object (seed 000: ResourceSnapshot); no environment.

    Of a ConfigMap its short values that look like no secret, so that a key's value from then can be put back.
    """
    metadata, spec = live.get("metadata", {}), live.get("spec", {})
    containers = spec.get("template", {}).get("spec", {}).get("containers") or spec.get("containers") or []
    snapshot: dict[str, Any] = {
        "uid": metadata.get("uid"),
        "generation": metadata.get("generation"),
        "resourceVersion": metadata.get("resourceVersion"),
        "containers": [
            {"name": c.get("name"), "image": c.get("image"), "resources": c.get("resources") or {}}
            for c in containers
        ],
    }
    for field in ("replicas", "unschedulable", "paused"):
        if field in spec:
            snapshot[field] = spec[field]
    data = live.get("data")
    if live.get("kind") == "ConfigMap" and isinstance(data, dict):
        snapshot["data"] = {key: value for key, value in data.items() if _kept(key, value)}
    return snapshot


def _kept(key: str, value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _SHORT and bool(redact_value(key, value) == value)


def shown(before: Any, after: Any) -> tuple[DiffLine, ...]:
    """The diff as people, policies and models may see it: each line stays, secret values in it are masked."""
    return tuple(_masked_line(line, before, after) for line in diff(before, after))


def _masked_line(line: DiffLine, before: Any, after: Any) -> DiffLine:
    return line.model_copy(
        update={
            "before": _masked_text(line.path, line.before, before),
            "after": _masked_text(line.path, line.after, after),
        }
    )


def _masked_text(path: str, text: str, document: Any) -> str:
    if not text:
        return ""
    if isinstance(document, dict) and document.get("kind") == "Secret" and path.startswith(_OF_SECRETS):
        return json.dumps(BY_NAME)
    return json.dumps(
        redact_value(_name_of(path, document), json.loads(text)), sort_keys=True, ensure_ascii=False
    )


def _name_of(path: str, document: Any) -> str:
    """The name under which the value at the path goes."""
    parent, _, key = path.rpartition("/")
    _, name = lookup(document, f"{parent}/name")
    above: Step = Named(name=name) if isinstance(name, str) else ""
    return name_of((above, key.replace("~1", "/").replace("~0", "~")))


def masked_edit(edit: ManifestEdit) -> ManifestEdit:
    """The edit for reading, secret values in it masked. Not for writing."""
    return edit.model_copy(
        update={"before": masked_scalar(edit, edit.before), "after": masked_scalar(edit, edit.after)}
    )


def masked_scalar(edit: ManifestEdit, value: Scalar) -> Scalar:
    """What stands, or is to stand, where the edit is made; masked when it is secret by any of its names."""
    masked: Scalar = redact_value(edit.called, redact_value(name_of(edit.steps), value))
    return masked


def masked_change(change: Change) -> Change:
    """The change for reading: the same fields, secret values in them masked. Not for sending."""

    def masked(field: FieldEdit) -> FieldEdit:
        if change.target.kind == "Secret":
            return field.model_copy(
                update={
                    "before": BY_NAME if field.before_present else None,
                    "after": BY_NAME if field.after_present else None,
                }
            )
        name = _name_of(field.path, {})
        return field.model_copy(
            update={"before": redact_value(name, field.before), "after": redact_value(name, field.after)}
        )

    return change.model_copy(
        update={
            "edits": tuple(masked(field) for field in change.edits),
            "expect": tuple(masked(field) for field in change.expect),
            "body": redact_value("", _masked_proposal(change.body) if _proposes(change) else change.body),
        }
    )


def _proposes(change: Change) -> bool:
    return change.verb is Verb.PROPOSE and change.body is not None


def _masked_proposal(body: JSON | None) -> JSON:
    proposal = Proposal.model_validate(body)
    edits = tuple(masked_edit(one) for one in proposal.edits)
    return proposal.model_copy(update={"edits": edits}).model_dump(mode="json")


def foreign_lines(fields: tuple[FieldEdit, ...]) -> tuple[DiffLine, ...]:
    """What we wrote and what is there instead, field by field, secrets masked."""
    lines: list[DiffLine] = []
    for field in fields:
        if field.after_present and field.before_present:
            lines += shown(_around(field.path, field.after), _around(field.path, field.before))
            continue
        ours, theirs = (
            json.dumps(redact_value(_name_of(field.path, {}), value), sort_keys=True, ensure_ascii=False)
            if present
            else ""
            for present, value in (
                (field.after_present, field.after),
                (field.before_present, field.before),
            )
        )
        lines.append(DiffLine(path=field.path, before=ours, after=theirs))
    return tuple(lines)


def _around(path: str, value: Any) -> Any:
    """A document that holds nothing but the value at the path (places in lists become keys)."""
    document = value
    for part in reversed(path.split("/")[1:]):
        document = {part.replace("~1", "/").replace("~0", "~"): document}
    return document


def commands_by_hand(change: Change) -> list[str]:
    """kubectl commands that put the earlier values back, for a person who has looked at the object first; only the
    look where nothing can put them back.

    The patch tests first that everything still is as we left it. Fields in lists go by their place, and another
    container may have taken that since: then the paste fails instead of changing what is not ours.

    Values that hold secrets are never spelled out; a Deployment's template is then put back from its
    own history, and of anything else the command names the fields.
    """
    target = change.target
    where = f"-n {shlex.quote(target.namespace)} " if target.namespace else ""
    kind, name = target.kind.lower(), shlex.quote(target.name)
    commands = [f"kubectl {where}get {kind} {name} -o yaml --show-managed-fields"]
    if change.verb is Verb.CREATE:
        return [*commands, f"kubectl {where}delete {kind} {name}  # if it carries {change.operation_id}"]
    if change.lasting or change.verb not in (Verb.PATCH, Verb.DRAIN):
        return commands
    secret = target.kind == "Secret"
    made = [field for field in change.edits if field.before_present or field.after_present]
    open_ = [field for field in made if not secret and not _is_secret(field.path, field.before)]
    hidden = [field for field in made if field not in open_]
    if open_:
        guards = _guards(change.expect, open_)
        if guards:
            commands.append("# if a test in what follows fails, somebody changed the object since")
        patch = shlex.quote(json.dumps([*guards, *(_restore(field) for field in reversed(open_))]))
        commands.append(f"kubectl {where}patch {kind} {name} --type=json -p {patch}")
    for field in hidden:
        if target.kind == "Deployment" and field.path.startswith("/spec/template"):
            commands += [
                f"kubectl {where}rollout history {kind}/{name}",
                f"kubectl {where}rollout undo {kind}/{name}",
            ]
        else:
            commands.append(f"kubectl {where}edit {kind} {name}  # {field.path} holds a secret")
    return commands


def _is_secret(path: str, value: Any) -> bool:
    return bool(redact_value(_name_of(path, {}), value) != value)


def _guards(expect: Iterable[FieldEdit], edits: Iterable[FieldEdit]) -> list[JSON]:
    """Tests that expected values hold and edited fields are as we left them, as far as no secret is spelled out.

    That a field is absent is a test of `null`, as API servers read it; of a place in a list they refuse that.
    """
    known = [(field.path, field.before_present, field.before) for field in expect]
    known += [(field.path, field.after_present, field.after) for field in edits]
    return [
        {"op": "test", "path": path, "value": value if present else None}
        for path, present, value in known
        if not (_is_secret(path, value) if present else _PLACE_IN_LIST.search(path))
    ]


def _restore(field: FieldEdit) -> JSON:
    if field.before_present:
        return {"op": "add", "path": field.path, "value": field.before}
    return {"op": "remove", "path": field.path}
