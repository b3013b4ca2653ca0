"""Proposals in a real repository: one operation, one branch, one pull request, and nobody else's work is touched."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cortexops.adapters.git import checked_ref, checked_url
from cortexops.adapters.git_forge import GitForge, branch_of
from cortexops.domain.errors import Conflict, CortexError, Forbidden, InvalidInput, Rejected, TemporaryError
from cortexops.domain.manifest import ManifestEdit, Named, Proposal
from cortexops.domain.resource import ResourceRef
from cortexops.ports.forge import Fate
from cortexops.settings_git import GitSettings, RepositorySettings
from tests.git.support import MANIFEST, TOKEN, bare_repository, branches, git, provider

AT = datetime(2026, 8, 14, 3, 0, tzinfo=UTC)
API = ResourceRef(cluster="prod", kind="Deployment", namespace="shop", name="api")
OPERATION = "INC-20260814-001.1.1.0a1b2c3d4e5f"
LIMIT = ManifestEdit(
    steps=("spec", "template", "spec", "containers", Named(name="main"), "resources", "limits", "memory"),
    before="128Mi",
    after="256Mi",
)
MORE = Proposal(target=API, app="shop", edits=(LIMIT,))
FILES = {"shop/api.yaml": MANIFEST, "shop/web.yaml": MANIFEST.replace("name: api", "name: web")}


def forge_of(bare: Path, **more: Any) -> GitForge:
    return GitForge(GitSettings(repositories=[RepositorySettings(url=str(bare), **more)], timeout_seconds=20))


async def propose(forge: GitForge, proposal: Proposal = MORE) -> Any:
    return await forge.propose(OPERATION, proposal, title="More memory for api", body="INC-1", at=AT)


async def test_a_proposal_is_one_commit_on_a_branch_of_its_own_and_changes_one_line(tmp_path: Path) -> None:
    bare = bare_repository(tmp_path, FILES)
    forge, before = forge_of(bare, path="{namespace}/{name}.yaml"), branches(bare)
    lines = await forge.preview(MORE)
    (line,) = lines.shown
    assert lines.bare == (line,)
    assert line.path == "shop/api.yaml: spec.template.spec.containers[main].resources.limits.memory"
    assert (line.before, line.after) == ('"128Mi"', '"256Mi"')
    assert branches(bare) == before
    found = await propose(forge)
    assert found.fate is Fate.OPEN
    assert branches(bare) == {**before, branch_of(OPERATION): found.commit}
    changed = git(bare, "show", "--format=", "-U0", found.commit).splitlines()
    assert [row for row in changed if row[:1] in "+-" and row[:3] not in ("+++", "---")] == [
        "-            memory: 128Mi",
        "+            memory: 256Mi",
    ]
    assert await propose(forge) == found
    assert len(branches(bare)) == 2
    taken = await forge.withdraw(OPERATION, MORE)
    assert taken.fate is Fate.OPEN
    assert branches(bare) == before
    assert (await forge.withdraw(OPERATION, MORE)).fate is Fate.NONE


async def test_two_calls_at_once_make_one_branch(tmp_path: Path) -> None:
    bare = bare_repository(tmp_path, FILES)
    done = await asyncio.gather(*(propose(forge_of(bare)) for _ in range(3)), return_exceptions=True)
    assert any(not isinstance(one, BaseException) for one in done)
    assert all(isinstance(one, CortexError | tuple) for one in done)
    assert len(branches(bare)) == 2
    assert (await propose(forge_of(bare))).fate is Fate.OPEN


@pytest.mark.parametrize("kind", ["github", "gitlab", "gitea"])
async def test_a_pull_request_is_opened_once_found_again_and_closed(tmp_path: Path, kind: Any) -> None:
    bare = bare_repository(tmp_path, FILES)
    with provider(kind) as hub:
        forge = forge_of(bare, provider=kind, project="shop/deploy", token=SecretStr(TOKEN), api_url=hub.url)
        found = await propose(forge)
        assert found.fate is Fate.OPEN and found.url.endswith("/1")
        assert await propose(forge) == found
        assert len(hub.made) == 1
        sent = hub.made[0]["sent"]
        assert (sent["title"], sent.get("body") or sent["description"]) == ("More memory for api", "INC-1")
        assert (await forge.withdraw(OPERATION, MORE)).fate is Fate.OPEN
        assert hub.made[0]["state"] == "closed"
        assert list(branches(bare)) == ["main"]
        assert (await propose(forge)).fate is Fate.CLOSED  # a person's no is not overruled
        assert len(hub.made) == 1


async def test_a_branch_without_its_pull_request_gets_it_on_the_next_call(tmp_path: Path) -> None:
    bare = bare_repository(tmp_path, FILES)
    with provider("github") as hub:
        forge = forge_of(
            bare, provider="github", project="shop/deploy", token=SecretStr(TOKEN), api_url=hub.url
        )
        await propose(forge_of(bare))  # as if the process had died between the two
        assert (await forge.look(OPERATION, MORE)).fate is Fate.HALF
        commit = branches(bare)[branch_of(OPERATION)]
        assert (await propose(forge)).fate is Fate.OPEN
        assert (branches(bare)[branch_of(OPERATION)], len(hub.made)) == (commit, 1)


async def test_what_was_merged_is_not_taken_back_here(tmp_path: Path) -> None:
    bare = bare_repository(tmp_path, FILES)
    with provider("github") as hub:
        forge = forge_of(
            bare, provider="github", project="shop/deploy", token=SecretStr(TOKEN), api_url=hub.url
        )
        await propose(forge)
        hub.made[0]["state"] = "merged"
        before = branches(bare)
        assert (await forge.withdraw(OPERATION, MORE)).fate is Fate.MERGED
        assert branches(bare) == before


async def test_somebody_elses_commit_on_the_branch_is_left_alone(tmp_path: Path) -> None:
    bare = bare_repository(tmp_path, FILES)
    forge, branch = forge_of(bare), branch_of(OPERATION)
    await propose(forge)
    work = tmp_path / "theirs"
    git(tmp_path, "clone", "--quiet", "--branch", branch, str(bare), str(work))
    (work / "shop/web.yaml").write_text("theirs: true\n")
    git(work, "commit", "--quiet", "--all", "-m", "more")
    git(work, "push", "--quiet", "origin", f"HEAD:{branch}")
    before = branches(bare)
    assert (await forge.withdraw(OPERATION, MORE)).fate is Fate.FOREIGN
    with pytest.raises(Conflict, match="something else"):
        await propose(forge)
    assert branches(bare) == before


@pytest.mark.parametrize(
    ("more", "proposal", "words"),
    [
        ({"namespaces": ["billing"]}, MORE, "no repository is configured"),
        ({"path": "nowhere/*.yaml"}, MORE, "described 0 times"),
        ({}, MORE.model_copy(update={"edits": (LIMIT.model_copy(update={"before": "1Gi"}),)}), "they differ"),
        ({}, MORE.model_copy(update={"edits": (LIMIT.model_copy(update={"after": "128Mi"}),)}), "already"),
        ({"path": "{app}/*.yaml"}, MORE.model_copy(update={"app": "../.."}), "cannot be part of a path"),
        ({"branch": "gone"}, MORE, "gone"),
    ],
)
async def test_what_is_not_in_git_or_differs_there_is_refused(
    tmp_path: Path, more: dict[str, Any], proposal: Proposal, words: str
) -> None:
    forge = forge_of(bare_repository(tmp_path, FILES), **more)
    with pytest.raises(Rejected, match=words):
        await forge.preview(proposal)


async def test_a_symlink_in_the_repository_leads_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text(MANIFEST)
    bare = bare_repository(tmp_path, {"readme": "x"})
    work = tmp_path / "seed"
    (work / "api.yaml").symlink_to(outside)
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", "link")
    git(work, "push", "--quiet", str(bare), "main")
    with pytest.raises(Rejected, match="described 0 times"):
        await forge_of(bare).preview(MORE)


async def test_a_provider_that_refuses_or_fails_is_told_apart_and_never_quotes_the_token(
    tmp_path: Path,
) -> None:
    bare = bare_repository(tmp_path, FILES)
    with provider("github") as hub:

        def forge(token: str) -> GitForge:
            return forge_of(
                bare, provider="github", project="shop/deploy", token=SecretStr(token), api_url=hub.url
            )

        with pytest.raises(Forbidden, match="bad credentials"):
            await propose(forge("wrong"))
        for code, kind in ((503, TemporaryError), (429, TemporaryError), (403, Forbidden), (422, Rejected)):
            hub.broken = code
            with pytest.raises(kind) as caught:
                await propose(forge(TOKEN))
            assert TOKEN not in str(caught.value)
    with pytest.raises(TemporaryError, match="cannot be reached"):
        await propose(forge(TOKEN))


async def test_a_repository_that_is_away_is_temporary_or_named(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match=r"git clone"):
        await forge_of(tmp_path / "none.git").preview(MORE)


@pytest.mark.parametrize(
    "url", ["ext::sh -c id", "--upload-pack=id", "relative", "http://x/y", "https://u:p@x/y"]
)
def test_an_address_that_could_run_something_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        checked_url(url)


@pytest.mark.parametrize("name", ["-x", "a..b", "a//b", "x.lock", "a b", "", "@{-1}", "a:b"])
def test_a_branch_name_that_git_would_read_as_something_else_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        checked_ref(name)


@pytest.mark.parametrize(
    "more", [{"path": "/etc/*"}, {"path": "../*"}, {"provider": "github"}, {"branch": "-x"}]
)
def test_settings_that_cannot_work_stop_the_start(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        forge_of(Path("/srv/x.git"), **more)


async def test_no_hook_of_the_repository_runs(tmp_path: Path) -> None:
    bare = bare_repository(tmp_path, FILES)
    mark = tmp_path / "ran"
    template = tmp_path / "hooks"
    template.mkdir()
    hook = template / "pre-push"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o755)
    subprocess.run(["git", "config", "core.hooksPath", str(template)], cwd=bare, check=True)
    await propose(forge_of(bare))
    assert not mark.exists()
