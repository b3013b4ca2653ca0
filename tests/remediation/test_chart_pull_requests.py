"""Objects that a Helm chart renders: proposed in the chart's values where these are mapped, else said why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from activities.actions import ACTIONS, propose
from activities.actions.open_pull_request import OpenPullRequest
from cortexops.adapters.git_forge import GitForge, branch_of
from cortexops.contracts.remediation import ApplyOutcome
from cortexops.domain.action import Candidate, Infeasible
from cortexops.domain.change import OPERATION_ANNOTATION
from cortexops.domain.diagnosis import Category
from cortexops.domain.incident import Reason
from cortexops.domain.resource import JSON
from cortexops.settings_git import GitSettings, RepositorySettings, ValuesSettings
from tests.git.support import bare_repository, branches, git
from tests.investigation.objects import container, deployment, ref, scene, template
from tests.remediation.support import Stage
from tests.remediation.test_pull_requests import MORE
from tests.unit.test_actions import because

VALUES = "# team-shop\napi:\n  resources:\n    limits: {memory: 128Mi}\n    requests: {memory: 64Mi}\n"
RELEASE = """\
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: shop, namespace: flux-system}
spec:
  values:
    api: {resources: {limits: {memory: 128Mi}, requests: {memory: 64Mi}}}
"""
HELM = {
    "labels": {"app.kubernetes.io/managed-by": "Helm"},
    "annotations": {"meta.helm.sh/release-name": "shop"},
}
FLUX = {"labels": {"helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": "flux-system"}}
MAPPED = ValuesSettings(
    name="api",
    file="{app}.yaml",
    fields={"spec.template.spec.containers[main].resources": "api.resources"},
)


def forge_of(bare: Path, *values: ValuesSettings) -> GitForge:
    return GitForge(GitSettings(repositories=[RepositorySettings(url=str(bare), values=list(values))]))


@pytest.mark.parametrize(("marks", "text"), [(HELM, VALUES), (FLUX, RELEASE)], ids=["helm", "flux"])
async def test_the_remedy_is_proposed_in_the_values_and_the_cluster_is_left_alone(
    simulated: Stage, tmp_path: Path, marks: JSON, text: str
) -> None:
    bare = bare_repository(tmp_path, {"shop.yaml": text})
    await simulated.deployment()
    await simulated.edit({"metadata": marks})
    simulated.activities.forge = forge_of(bare, MAPPED)
    before = await simulated.live()
    given = await simulated.order(simulated.action("open_pull_request", remedy="adjust_resources", **MORE))
    done = await simulated.apply(given)
    assert (done.outcome, done.reason) == (ApplyOutcome.HANDED_OVER, Reason.PULL_REQUEST_OPENED)
    proposed = git(bare, "show", f"{branch_of(done.operation_id)}:shop.yaml")
    assert proposed == text.replace("128Mi", "256Mi").replace("64Mi", "192Mi")
    assert (await simulated.live())["spec"] == before["spec"]
    assert OPERATION_ANNOTATION not in (await simulated.live())["metadata"].get("annotations", {})
    assert (await simulated.compensate(done.operation_id)).done
    assert list(branches(bare)) == ["main"]


async def test_without_its_values_a_chart_is_not_edited(simulated: Stage, tmp_path: Path) -> None:
    bare = bare_repository(tmp_path, {"shop.yaml": VALUES})
    await simulated.deployment()
    await simulated.edit({"metadata": FLUX})
    simulated.activities.forge = forge_of(bare)
    found = await simulated.dry_run(simulated.action("open_pull_request", remedy="adjust_resources", **MORE))
    assert (found.ok, found.reason) == (False, Reason.DRY_RUN_REJECTED)
    assert "no repository is configured" in found.detail


def offered(monkeypatch: pytest.MonkeyPatch, marks: JSON, forge: GitForge | None) -> tuple[Candidate, ...]:
    plugin = ACTIONS["open_pull_request"]
    assert isinstance(plugin, OpenPullRequest)
    monkeypatch.setattr(plugin, "covers", forge.covers if forge else None)
    monkeypatch.setattr(plugin, "unmapped", forge.unmapped if forge else None)
    box = container("api", resources={"limits": {"memory": "128Mi"}, "requests": {"memory": "64Mi"}})
    live = deployment(pod_template=template("api", box))
    for place, added in marks.items():
        live["metadata"][place] = (live["metadata"].get(place) or {}) | added
    target = ref("Deployment", "api")
    return tuple(propose(scene(target, live), because(Category.OOM_LIMIT_TOO_LOW, target)))


IN_CODE = MAPPED.model_copy(
    update={"fields": {"spec.template.spec.containers[api].resources": "api.resources"}}
)


def test_a_release_whose_values_are_in_git_is_mended_there_first(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = offered(monkeypatch, HELM, forge_of(Path("/nowhere"), IN_CODE))
    assert (first.action.type, first.feasible) == ("open_pull_request", True)
    assert any("next upgrade of release shop" in caveat for caveat in first.caveats)
    assert next(c.action.type for c in others if c.feasible) == "adjust_resources"


def test_a_release_whose_values_nobody_mapped_is_mended_in_the_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for forge in (None, forge_of(Path("/nowhere"))):
        found = offered(monkeypatch, HELM, forge)
        assert next(c.action.type for c in found if c.feasible) == "adjust_resources"
        assert not [c for c in found if c.action.type == "open_pull_request"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((), "git.repositories.values"),
        ((MAPPED,), "spec.template.spec.containers[api].resources.limits.memory"),
    ],
    ids=["no mapping", "another container"],
)
def test_what_a_controller_owns_and_nobody_mapped_is_escalated_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, values: tuple[ValuesSettings, ...], words: str
) -> None:
    found = offered(monkeypatch, FLUX, forge_of(Path("/nowhere"), *values))
    assert not [c for c in found if c.feasible]
    (refused,) = [c for c in found if c.action.type == "open_pull_request"]
    assert refused.infeasible is Infeasible.NO_REPOSITORY and words in refused.why
