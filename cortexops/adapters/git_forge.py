"""Proposals as branches of a git repository: one operation, one branch, one commit, one pull request.

The branch is named after the operation. Whether it is ours is read from it: its commit must be our edit of
its parent and nothing else. So a repeated call finds what an earlier one made, and never takes over, closes or
deletes what somebody else has put there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from cortexops.adapters.git import Git, checked_ref
from cortexops.adapters.git_providers import Provider
from cortexops.adapters.yaml_edit import edited, find
from cortexops.domain.change import DiffLine
from cortexops.domain.errors import Conflict, InvalidInput, NotFound, Rejected
from cortexops.domain.manifest import Proposal
from cortexops.domain.redaction import redact_value
from cortexops.ports.forge import Fate, Found
from cortexops.settings_git import GitSettings, RepositorySettings

_MOST_FILES = 5000
_LARGEST = 1_000_000  # bytes of a file that is looked into
_PREFIX = "cortexops/"


class _File(NamedTuple):
    path: str
    text: str


class GitForge:
    """Implements `cortexops.ports.forge.Forge`."""

    def __init__(self, settings: GitSettings) -> None:
        self._settings = settings
        for repository in settings.repositories:
            checked_ref(repository.branch)
            if repository.path.startswith("/") or ".." in Path(repository.path).parts:
                raise InvalidInput("git.repositories.path", "it must stay within the repository")
            if repository.provider != "none" and (not repository.project or repository.token is None):
                raise InvalidInput(
                    "git.repositories.project", f"{repository.provider} needs `project` and `token`"
                )

    def covers(self, proposal: Proposal) -> bool:
        return repository_of(self._settings.repositories, proposal) is not None

    async def preview(self, proposal: Proposal) -> list[DiffLine]:
        repository = self._repository(proposal)
        async with self._clone(repository) as (_, folder):
            file = _file(folder, repository, proposal)
            if edited(file.text, proposal.target, proposal.edits) == file.text:
                raise Rejected(f"{file.path} says so already: the controller has yet to bring it here")
        return [
            DiffLine(
                path=f"{file.path}: {edit}",
                before=_shown(edit.steps[-1], edit.before) if edit.before_present else "",
                after="" if edit.remove else _shown(edit.steps[-1], edit.after),
            )
            for edit in proposal.edits
        ]

    async def look(self, operation: str, proposal: Proposal) -> Found:
        repository = self._repository(proposal)
        async with self._clone(repository) as (git, folder):
            return await self._look(git, folder, repository, operation, proposal)

    async def _look(
        self, git: Git, folder: Path, repository: RepositorySettings, operation: str, proposal: Proposal
    ) -> Found:
        branch = branch_of(operation)
        commit = await _fetched(git, folder, branch)
        provider = self._provider(repository)
        request = await provider.find(branch, repository.branch) if provider else None
        if request is not None and request.fate in (Fate.MERGED, Fate.CLOSED):
            return Found(request.fate, request.url, request.commit)
        if not commit:
            return Found(Fate.NONE)
        if not await self._is_ours(git, folder, repository, proposal, commit):
            return Found(Fate.FOREIGN, request.url if request else "", commit)
        if provider is None:
            behind, _, _ = await git.tried(folder, "merge-base", "--is-ancestor", commit, "HEAD")
            return Found(Fate.MERGED if behind == 0 else Fate.OPEN, f"branch {branch}", commit)
        if request is None:
            return Found(Fate.HALF, "", commit)
        return Found(request.fate, request.url, commit)

    async def propose(
        self, operation: str, proposal: Proposal, *, title: str, body: str, at: datetime
    ) -> Found:
        repository, branch = self._repository(proposal), branch_of(operation)
        async with self._clone(repository) as (git, folder):
            found = await self._look(git, folder, repository, operation, proposal)
            if found.fate is Fate.NONE:
                commit = await self._committed(
                    git, folder, repository, proposal, f"{title}\n\n{body}\n\nOperation: {operation}\n", at
                )
                # the lease says that the branch is not there yet: a race has one winner
                ref = f"refs/heads/{branch}"
                await git.run(
                    folder, "push", "--porcelain", f"--force-with-lease={ref}:", "origin", f"{commit}:{ref}"
                )
                found = Found(Fate.HALF, f"branch {branch}", commit)
            if found.fate is Fate.FOREIGN:
                raise Conflict(f"branch {branch} holds something else")
            if found.fate is not Fate.HALF:
                return found
        provider = self._provider(repository)
        if provider is None:
            return found._replace(fate=Fate.OPEN)
        try:
            request = await provider.open(branch, repository.branch, title, body)
        except (Conflict, Rejected, NotFound):
            made = await provider.find(branch, repository.branch)  # another call may have been faster
            if made is None:
                raise
            request = made
        return Found(request.fate, request.url, found.commit)

    async def withdraw(self, operation: str, proposal: Proposal) -> Found:
        repository, branch = self._repository(proposal), branch_of(operation)
        async with self._clone(repository) as (git, folder):
            found = await self._look(git, folder, repository, operation, proposal)
            if found.fate in (Fate.NONE, Fate.FOREIGN, Fate.MERGED):
                return found
            provider = self._provider(repository)
            request = await provider.find(branch, repository.branch) if provider else None
            if provider is not None and request is not None and request.fate is Fate.OPEN:
                await provider.close(request.number)
            commit = await _fetched(git, folder, branch)
            if commit and await self._is_ours(git, folder, repository, proposal, commit):
                ref = f"refs/heads/{branch}"
                await git.run(
                    folder, "push", "--porcelain", f"--force-with-lease={ref}:{commit}", "origin", f":{ref}"
                )
            return found

    async def _is_ours(
        self, git: Git, folder: Path, repository: RepositorySettings, proposal: Proposal, commit: str
    ) -> bool:
        """Whether the commit is our edit of its parent and nothing else."""
        code, parent, _ = await git.tried(folder, "rev-parse", "--verify", "--quiet", f"{commit}^")
        if code:
            return False
        await git.run(folder, "checkout", "--quiet", "--detach", parent.strip())
        try:
            file = _file(folder, repository, proposal)
            wanted = edited(file.text, proposal.target, proposal.edits)
        except Rejected:
            return False
        finally:
            await git.run(folder, "checkout", "--quiet", repository.branch)
        names = (await git.run(folder, "diff", "--name-only", parent.strip(), commit)).splitlines()
        return names == [file.path] and await git.run(folder, "show", f"{commit}:{file.path}") == wanted

    async def _committed(
        self,
        git: Git,
        folder: Path,
        repository: RepositorySettings,
        proposal: Proposal,
        text: str,
        at: datetime,
    ) -> str:
        file = _file(folder, repository, proposal)
        changed = edited(file.text, proposal.target, proposal.edits)
        if changed == file.text:
            raise Rejected(f"{file.path} says so already")
        (folder / file.path).write_bytes(changed.encode())
        who = {"NAME": self._settings.author, "EMAIL": self._settings.email, "DATE": at.isoformat()}
        env = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
        await git.run(folder, "add", "--", file.path)
        await git.run(folder, "commit", "--quiet", "--no-verify", "-m", text, env=env)
        return (await git.run(folder, "rev-parse", "HEAD")).strip()

    def _repository(self, proposal: Proposal) -> RepositorySettings:
        found = repository_of(self._settings.repositories, proposal)
        if found is None:
            raise Rejected(
                f"no repository is configured that {proposal.target} would be in (git.repositories)"
            )
        return found

    def _provider(self, repository: RepositorySettings) -> Provider | None:
        if repository.provider == "none":
            return None
        return Provider(
            repository.provider,
            repository.project,
            repository.token.get_secret_value() if repository.token else "",
            repository.api_url,
            self._settings.timeout_seconds,
        )

    @asynccontextmanager
    async def _clone(self, repository: RepositorySettings) -> AsyncIterator[tuple[Git, Path]]:
        """A fresh, shallow working copy; it goes away with the call."""
        token = repository.token.get_secret_value() if repository.token else None
        git = Git(repository.url, token, self._settings.timeout_seconds)
        with tempfile.TemporaryDirectory(prefix="cortexops-git-") as base:
            folder = Path(base) / "work"
            await git.run(
                Path(base), "clone", "--quiet", "--depth", "50", "--no-tags", "--single-branch",
                "--branch", repository.branch, "--", git.url, str(folder),
            )  # fmt: skip
            yield git, folder


def repository_of(
    repositories: Sequence[RepositorySettings], proposal: Proposal
) -> RepositorySettings | None:
    """The first repository that the object fits."""
    target = proposal.target
    for repository in repositories:
        fits = (
            (repository.clusters, target.cluster),
            (repository.namespaces, target.namespace),
            (repository.apps, proposal.app),
        )
        if all(not allowed or value in allowed for allowed, value in fits):
            return repository
    return None


def branch_of(operation: str) -> str:
    return checked_ref(f"{_PREFIX}{operation}")


async def _fetched(git: Git, folder: Path, branch: str) -> str:
    """The remote branch's commit with its parents, empty when there is no such branch."""
    answer = await git.run(folder, "ls-remote", "origin", f"refs/heads/{branch}")
    if not answer.strip():
        return ""
    await git.run(folder, "fetch", "--quiet", "--depth", "50", "origin", f"refs/heads/{branch}")
    return (await git.run(folder, "rev-parse", "FETCH_HEAD")).strip()


def _file(folder: Path, repository: RepositorySettings, proposal: Proposal) -> _File:
    """The one file that describes the object. Raises `Rejected` when there is none, or more than one."""
    target = proposal.target
    pattern = repository.path
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
    found: list[_File] = []
    for number, path in enumerate(sorted(folder.glob(pattern))):
        if number >= _MOST_FILES:
            raise Rejected(f"{pattern} matches more than {_MOST_FILES} files")
        inside = path.relative_to(folder)
        if inside.parts[0] == ".git" or path.is_symlink() or not path.is_file():
            continue
        if not path.resolve().is_relative_to(folder.resolve()) or path.stat().st_size > _LARGEST:
            continue
        try:
            text = path.read_bytes().decode()
        except UnicodeDecodeError:
            continue
        if target.name not in text:
            continue
        try:
            places = find(text, target)
        except Rejected:
            continue  # a template among plain files
        found += [_File(str(inside), text)] * len(places)
    if len(found) != 1:
        where = ", ".join(file.path for file in found[:3])
        raise Rejected(
            f"{target} is described {len(found)} times in {pattern}" + (f" ({where})" if where else "")
        )
    return found[0]


def _shown(step: object, value: object) -> str:
    return json.dumps(redact_value(str(step), value), ensure_ascii=False)
