"""Which file of a repository a proposal edits, and what it says afterwards: a manifest, or the values of a chart."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cortexops.adapters.yaml_edit import edited, edited_values, find, overridden
from cortexops.domain.chart_values import mapped, parsed
from cortexops.domain.errors import InvalidInput, Rejected
from cortexops.domain.manifest import ManifestEdit, Proposal
from cortexops.domain.resource import ResourceRef
from cortexops.settings_git import RepositorySettings, ValuesSettings

_MOST_FILES = 5000
_LARGEST = 1_000_000  # bytes of a file that is looked into


class Planned(NamedTuple):
    """The file as it is and as it is to be; `edits` are those of the file, in the order of the proposal's."""

    path: str
    before: str
    after: str
    edits: tuple[ManifestEdit, ...]


class _File(NamedTuple):
    path: str
    text: str


def check_patterns(repository: RepositorySettings) -> None:
    """Raises `InvalidInput` for files outside of the repository, and for places that cannot be."""
    named = [("path", repository.path), *(("values.file", one.file) for one in repository.values)]
    for field, pattern in named:
        if pattern.startswith("/") or ".." in Path(pattern).parts:
            raise InvalidInput(f"git.repositories.{field}", "it must stay within the repository")
    for place in (place for one in repository.values for place in one.fields.values()):
        parsed(place)


def values_of(repository: RepositorySettings, proposal: Proposal) -> ValuesSettings | None:
    """The mapping to a chart's values that is configured for the object."""
    target = proposal.target
    for values in repository.values:
        name = values.name.replace("{app}", proposal.app)
        if (values.kind, name) == (target.kind, target.name):
            return values
    return None


def planned(folder: Path, repository: RepositorySettings, proposal: Proposal) -> Planned:
    """Raises `Rejected` when no file describes the object, more than one does, or it cannot be edited for sure."""
    values = values_of(repository, proposal)
    if values is not None:
        return _values(folder, values, proposal)
    if proposal.chart:
        raise Rejected(f"no values of a chart are configured for {proposal.target} (git.repositories.values)")
    file = _manifest(folder, repository.path, proposal)
    return Planned(file.path, file.text, edited(file.text, proposal.target, proposal.edits), proposal.edits)


def _values(folder: Path, values: ValuesSettings, proposal: Proposal) -> Planned:
    edits = mapped(proposal.edits, values.fields)
    name = _filled(values.file, proposal)
    path = folder / name
    text = _text(folder, path)
    if text is None:
        raise Rejected(f"{name}, which should have the values of {proposal.target}, cannot be read")
    release = ResourceRef(
        cluster=proposal.target.cluster,
        kind="HelmRelease",
        namespace=proposal.app_namespace,
        name=proposal.app,
    )
    if proposal.app_namespace and find(text, release):
        above = overridden(text, release)
        if above:
            raise Rejected(f"{name} has {above}, which goes over its values: that is for a person")
        edits = tuple(one.model_copy(update={"steps": ("spec", "values", *one.steps)}) for one in edits)
        return Planned(name, text, edited(text, release, edits), edits)
    return Planned(name, text, edited_values(text, edits), edits)


def _filled(pattern: str, proposal: Proposal) -> str:
    target = proposal.target
    for name, value in (
        ("cluster", target.cluster),
        ("namespace", target.namespace),
        ("kind", target.kind.lower()),
        ("name", target.name),
        ("app", proposal.app),
    ):
        if f"{{{name}}}" in pattern and ("/" in value or value in ("", ".", "..") or set(value) & set("*?[")):
            raise Rejected(f"{name} {value!r} cannot be part of a path")
        pattern = pattern.replace(f"{{{name}}}", value)
    return pattern


def _text(folder: Path, path: Path) -> str | None:
    """The file's text; None when it is no plain file of the repository."""
    inside = path.relative_to(folder)
    if inside.parts[0] == ".git" or path.is_symlink() or not path.is_file():
        return None
    if not path.resolve().is_relative_to(folder.resolve()) or path.stat().st_size > _LARGEST:
        return None
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError:
        return None


def _manifest(folder: Path, path_pattern: str, proposal: Proposal) -> _File:
    target = proposal.target
    pattern = _filled(path_pattern, proposal)
    found: list[_File] = []
    for number, path in enumerate(sorted(folder.glob(pattern))):
        if number >= _MOST_FILES:
            raise Rejected(f"{pattern} matches more than {_MOST_FILES} files")
        text = _text(folder, path)
        if text is None or target.name not in text:
            continue
        try:
            places = find(text, target)
        except Rejected:
            continue  # a template among plain files
        found += [_File(str(path.relative_to(folder)), text)] * len(places)
    if len(found) != 1:
        where = ", ".join(file.path for file in found[:3])
        raise Rejected(
            f"{target} is described {len(found)} times in {pattern}" + (f" ({where})" if where else "")
        )
    return found[0]
