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

from cortexops.adapters.git import Git, checked_ref
from cortexops.adapters.git_files import check_patterns, planned, values_of
from cortexops.adapters.git_providers import Provider
from cortexops.domain.change import DiffLine
from cortexops.domain.chart_values import mapped
from cortexops.domain.errors import Conflict, InvalidInput, NotFound, Rejected
from cortexops.domain.manifest import ManifestEdit, Proposal
from cortexops.domain.snapshot import masked_edit
from cortexops.ports.forge import Fate, Found, Previewed
from cortexops.settings_git import GitSettings, RepositorySettings

_PREFIX = "cortexops/"


class GitForge:
    """Implements `cortexops.ports.forge.Forge`."""

    def __init__(self, settings: GitSettings) -> None:
        self._settings = settings
        for repository in settings.repositories:
            checked_ref(repository.branch)
            check_patterns(repository)
            if repository.provider != "none" and (not repository.project or repository.token is None):
                raise InvalidInput(
                    "git.repositories.project", f"{repository.provider} needs `project` and `token`"
                )

    def covers(self, proposal: Proposal) -> bool:
        return repository_of(self._settings.repositories, proposal) is not None

    def unmapped(self, proposal: Proposal) -> str:
        """Why the edits cannot be made in a chart's values, as far as the settings tell it; empty: they can."""
        repository = repository_of(self._settings.repositories, proposal)
        values = values_of(repository, proposal) if repository is not None else None
        try:
            if values is not None:
                mapped(proposal.edits, values.fields)
        except Rejected as error:
            return str(error)
        return ""

    async def preview(self, proposal: Proposal) -> Previewed:
        repository = self._repository(proposal)
        async with self._clone(repository) as (_, folder):
            file = planned(folder, repository, proposal)
            if file.after == file.before:
                raise Rejected(f"{file.path} says so already: the controller has yet to bring it here")
        return Previewed(
            bare=tuple(_line(file.path, edit) for edit in file.edits),
            shown=tuple(_line(file.path, masked_edit(edit)) for edit in file.edits),
        )

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

    async def fate(self, operation: str, proposal: Proposal) -> Found:
        repository = self._repository(proposal)
        async with self._clone(repository) as (git, folder):
            found = await self._look(git, folder, repository, operation, proposal)
            if found.fate is not Fate.MERGED or not found.commit:
                try:
                    file = planned(folder, repository, proposal)
                    if file.after == file.before:
                        commit = await git.run(folder, "log", "-1", "--format=%H", "--", file.path)
                        found = Found(Fate.MERGED, found.url, commit.strip())
                except Rejected:  # the file says something else, or is not there any more
                    pass
        return found._replace(url=found.url or f"branch {branch_of(operation)}")

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
            file = planned(folder, repository, proposal)
        except Rejected:
            return False
        finally:
            await git.run(folder, "checkout", "--quiet", repository.branch)
        names = (await git.run(folder, "diff", "--name-only", parent.strip(), commit)).splitlines()
        return names == [file.path] and await git.run(folder, "show", f"{commit}:{file.path}") == file.after

    async def _committed(
        self,
        git: Git,
        folder: Path,
        repository: RepositorySettings,
        proposal: Proposal,
        text: str,
        at: datetime,
    ) -> str:
        file = planned(folder, repository, proposal)
        if file.after == file.before:
            raise Rejected(f"{file.path} says so already")
        (folder / file.path).write_bytes(file.after.encode())
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
    """The first repository that the object fits; one that a chart renders needs its values to be mapped there."""
    target = proposal.target
    for repository in repositories:
        fits = (
            (repository.clusters, target.cluster),
            (repository.namespaces, target.namespace),
            (repository.apps, proposal.app),
        )
        known = not proposal.chart or values_of(repository, proposal) is not None
        if known and all(not allowed or value in allowed for allowed, value in fits):
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


def _line(path: str, edit: ManifestEdit) -> DiffLine:
    return DiffLine(
        path=f"{path}: {edit}",
        before=json.dumps(edit.before, ensure_ascii=False) if edit.before_present else "",
        after="" if edit.remove else json.dumps(edit.after, ensure_ascii=False),
    )
