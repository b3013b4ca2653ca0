"""What Git owns is changed in Git: an owned object through its whole life, with a real repository."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from activities.guarded import GuardedRemediation
from cortexops.adapters.git_forge import GitForge, branch_of
from cortexops.contracts.remediation import ApplyInput, ApplyOutcome
from cortexops.domain.action import Action
from cortexops.domain.incident import Reason
from cortexops.domain.ledger import LedgerState
from cortexops.settings_git import GitSettings, RepositorySettings
from tests.git.support import MANIFEST, TOKEN, bare_repository, branches, git, provider
from tests.remediation.support import SECRET, Stage
from tests.remediation.test_values_live import config

OWNED = {"metadata": {"labels": {"argocd.argoproj.io/instance": "shop"}}}
MORE: dict[str, Any] = {"container": "main", "memory_limit": "256Mi", "memory_request": "192Mi"}


def forge_of(stage: Stage, bare: Path, **more: Any) -> GitForge:
    repository = RepositorySettings(url=str(bare), namespaces=[stage.space], apps=["shop"], **more)
    return GitForge(GitSettings(repositories=[repository]))


async def order(stage: Stage, bare: Path, **more: Any) -> ApplyInput:
    await stage.deployment()
    await stage.edit(OWNED)
    stage.activities.forge = forge_of(stage, bare, **more)
    return await stage.order(stage.action("open_pull_request", remedy="adjust_resources", **MORE))


async def test_a_change_of_what_git_owns_is_proposed_once_and_withdrawn(
    simulated: Stage, tmp_path: Path
) -> None:
    stage, bare = simulated, bare_repository(tmp_path, {"shop/api.yaml": MANIFEST})
    with provider("github") as hub:
        given = await order(
            stage, bare, provider="github", project="shop/deploy", token=SecretStr(TOKEN), api_url=hub.url
        )
        before = await stage.live()
        assert hub.made == []
        first = await stage.apply(given)
        assert (first.outcome, first.reason) == (ApplyOutcome.HANDED_OVER, Reason.PULL_REQUEST_OPENED)
        assert "/shop/deploy/1 is open" in first.detail
        assert await stage.apply(given) == first
        assert len(hub.made) == 1
        text = git(bare, "show", f"{branch_of(first.operation_id)}:shop/api.yaml")
        assert "memory: 256Mi" in text and "memory: 192Mi" in text and "# bumped by CI" in text
        assert await stage.live() == before
        undone = await stage.compensate(first.operation_id)
        assert undone.done, undone.detail
        assert hub.made[0]["state"] == "closed"
        assert list(branches(bare)) == ["main"]
        assert (await stage.compensate(first.operation_id)).done
    (row,) = await stage.store.rows_of(stage.incident)
    assert row.state is LedgerState.COMPENSATED
    said = first.model_dump_json() + undone.model_dump_json() + await stage.said()
    assert TOKEN not in said and SECRET not in said


async def test_the_dry_run_shows_the_lines_of_the_file(simulated: Stage, tmp_path: Path) -> None:
    bare = bare_repository(tmp_path, {"shop/api.yaml": MANIFEST})
    await order(simulated, bare)
    found = await simulated.dry_run(simulated.action("open_pull_request", remedy="adjust_resources", **MORE))
    assert found.preview is not None
    assert [(line.path.rpartition(".")[2], line.before, line.after) for line in found.preview.diff] == [
        ("memory", '"128Mi"', '"256Mi"'),
        ("memory", '"64Mi"', '"192Mi"'),
    ]
    assert list(branches(bare)) == ["main"]


async def test_a_file_that_was_changed_since_the_dry_run_is_looked_at_again(
    simulated: Stage, tmp_path: Path
) -> None:
    bare = bare_repository(tmp_path, {"shop/api.yaml": MANIFEST})
    given = await order(simulated, bare)
    work = tmp_path / "seed"
    (work / "shop/api.yaml").write_text(MANIFEST.replace("128Mi", "200Mi"))
    git(work, "commit", "--quiet", "--all", "-m", "theirs")
    git(work, "push", "--quiet", str(bare), "main")
    result = await simulated.apply(given)
    assert (result.outcome, "they differ" in result.detail) == (ApplyOutcome.REFUSED, True)
    assert list(branches(bare)) == ["main"]


NOW, EARLIER = f"now-{SECRET}", f"earlier-{SECRET}"
SETTINGS = f"""\
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
data:
  DB_PASSWORD: {NOW}
"""
WITH_PASSWORD = MANIFEST.replace(
    "        resources:",
    f"        env:\n        - name: DB_PASSWORD\n          value: {NOW}\n        resources:",
)


async def password_in_a_config_map(stage: Stage) -> Action:
    target = stage.ref("ConfigMap", "settings")
    body = config("ConfigMap", {"DB_PASSWORD": NOW}, {"DB_PASSWORD": EARLIER})
    await stage.admin.create("ConfigMap", stage.space, body)
    await stage.edit(OWNED, target)
    return stage.action(
        "open_pull_request", target, remedy="patch_config", key="DB_PASSWORD", source="last_applied"
    )


async def password_in_a_variable(stage: Stage) -> Action:
    await stage.deployment()
    for value in (EARLIER, NOW):
        env = [{"name": "DB_PASSWORD", "value": value}]
        await stage.edit({"spec": {"template": {"spec": {"containers": [{"name": "main", "env": env}]}}}})
        revision = 2 if value == EARLIER else 3
        await stage.revision("api", revision)
    await stage.edit(OWNED)
    (second,) = [
        one["metadata"]["name"]
        for one in (await stage.admin.list("ReplicaSet", stage.space)).items
        if one["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    ]
    return stage.action("open_pull_request", remedy="rollback_rollout", to_revision=2, replica_set=second)


@pytest.mark.parametrize(
    ("prepared", "text", "place"),
    [
        (password_in_a_config_map, SETTINGS, "data.DB_PASSWORD"),
        (
            password_in_a_variable,
            WITH_PASSWORD,
            "spec.template.spec.containers[main].env[DB_PASSWORD].value",
        ),
    ],
    ids=["key of a ConfigMap", "variable"],
)
async def test_a_secret_value_goes_into_the_file_and_into_no_text(
    simulated: Stage,
    tmp_path: Path,
    prepared: Callable[[Stage], Awaitable[Action]],
    text: str,
    place: str,
) -> None:
    stage, bare = simulated, bare_repository(tmp_path, {"shop/it.yaml": text})
    action = await prepared(stage)
    before = await stage.live(action.target)
    with provider("github") as hub:
        stage.activities.forge = forge_of(
            stage, bare, provider="github", project="shop/deploy", token=SecretStr(TOKEN), api_url=hub.url
        )
        found = await stage.dry_run(action)
        assert found.preview is not None, found.detail
        mask = '"[redacted:by_name]"'
        assert [(line.path, line.before, line.after) for line in found.preview.diff] == [
            (f"shop/it.yaml: {place}", mask, mask)
        ]
        order = await stage.order(action)
        done = await stage.apply(order)
        assert done.outcome is ApplyOutcome.HANDED_OVER, done.detail
        assert await stage.apply(order) == done
        branch = branch_of(done.operation_id)
        assert git(bare, "show", f"{branch}:shop/it.yaml") == text.replace(NOW, EARLIER)
        (row,) = await stage.store.rows_of(stage.incident)
        assert EARLIER in str(row.change.body), "the ledger must know what was proposed"
        told = [one.model_dump_json() for one in (found, order, done)]
        told += [str(hub.made), git(bare, "log", "-1", "--format=%B", branch), await stage.said()]
        assert place in told[-2] and "`[redacted:by_name]` → `[redacted:by_name]`" in told[-2]
        undone = await stage.compensate(done.operation_id)
        assert undone.done, undone.detail
        assert list(branches(bare)) == ["main"]
    told += [undone.model_dump_json(), await stage.said()]
    assert not [one for one in told if SECRET in one]
    assert await stage.live(action.target) == before


async def test_an_approval_is_bound_to_the_value_behind_the_mask(simulated: Stage, tmp_path: Path) -> None:
    stage, target = simulated, simulated.ref("ConfigMap", "settings")
    action = await password_in_a_config_map(stage)
    stage.activities.forge = forge_of(stage, bare_repository(tmp_path, {"shop/it.yaml": SETTINGS}))
    order = await stage.order(action)
    note = config("ConfigMap", {}, {"DB_PASSWORD": f"another-{SECRET}"})["metadata"]
    await stage.edit({"metadata": note}, target)
    done = await stage.apply(order)
    assert (done.outcome, done.reason) == (ApplyOutcome.CHANGED, Reason.OBJECT_CHANGED)
    assert "not the one that was agreed on" in done.detail
    assert list(branches(tmp_path / "origin.git")) == ["main"]


async def test_what_differs_between_file_and_cluster_is_told_without_secrets(
    simulated: Stage, tmp_path: Path
) -> None:
    stage, text = simulated, SETTINGS.replace(NOW, f"theirs-{SECRET}")
    stage.activities.forge = forge_of(stage, bare_repository(tmp_path, {"shop/it.yaml": text}))
    found = await stage.dry_run(await password_in_a_config_map(stage))
    assert (found.ok, "they differ" in found.detail) == (False, True)
    assert SECRET not in found.detail


async def test_in_shadow_mode_nothing_is_pushed(simulated: Stage, tmp_path: Path) -> None:
    bare = bare_repository(tmp_path, {"shop/api.yaml": MANIFEST})
    given = await order(simulated, bare)
    shadow = GuardedRemediation({simulated.admin.name: simulated.writer}, simulated.store, shadow=True)
    shadow.forge = simulated.activities.forge
    result = await shadow.apply(given)
    assert (result.outcome, "shadow mode" in result.detail) == (ApplyOutcome.REFUSED, True)
    assert list(branches(bare)) == ["main"]


@pytest.mark.parametrize(
    ("owned", "params", "words"),
    [
        (False, {"remedy": "adjust_resources", **MORE}, "no GitOps controller owns"),
        (True, {"remedy": "restart_workload"}, "cannot be proposed in Git"),
        (True, {"remedy": "adjust_resources", **MORE, "memory_limit": "9Gi"}, "at most 2 times"),
        (True, {"remedy": "expand_pvc", "size": "1Gi"}, "cannot be proposed in Git"),
        (True, {"remedy": "suspend_cronjob"}, "does not act on"),
        (True, {"remedy": "adjust_resources", **MORE}, "nothing is configured"),
    ],
)
async def test_only_a_remedy_within_its_own_bounds_is_proposed(
    simulated: Stage, owned: bool, params: dict[str, Any], words: str
) -> None:
    await simulated.deployment()
    if owned:
        await simulated.edit(OWNED)
    found = await simulated.dry_run(simulated.action("open_pull_request", **params))
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert words in found.detail
