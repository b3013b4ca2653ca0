"""Whose objects are: what Git, an operator or a chart writes, and what is offered for it then."""

from __future__ import annotations

import pytest

from activities.actions import ACTIONS, propose
from activities.actions.open_pull_request import OpenPullRequest, unowned
from cortexops.domain.action import Candidate, Infeasible
from cortexops.domain.change import Verb
from cortexops.domain.diagnosis import Category
from cortexops.domain.manifest import Proposal
from cortexops.domain.ownership import Tool, caveats_of, owner_of, reconciler_of
from cortexops.domain.resource import JSON
from tests.investigation.objects import (
    deployment,
    ref,
    scene,
)
from tests.unit.test_actions import because, offers, sized
from tests.unit.test_catalogue import prepare


@pytest.mark.parametrize(
    ("metadata", "tool", "name", "reconciles"),
    [
        (
            {"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/api"}},
            Tool.ARGO_CD, "shop", True,
        ),
        ({"labels": {"argocd.argoproj.io/instance": "shop"}}, Tool.ARGO_CD, "shop", True),
        ({"annotations": {"argocd.argoproj.io/sync-wave": "1"}}, Tool.ARGO_CD, "", True),
        (
            {
                "labels": {"app.kubernetes.io/instance": "shop"},
                "managedFields": [{"manager": "argocd-application-controller"}],
            },
            Tool.ARGO_CD, "shop", True,
        ),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}, Tool.FLUX, "shop", True),
        (
            {"labels": {"helm.toolkit.fluxcd.io/name": "shop", "app.kubernetes.io/managed-by": "Helm"}},
            Tool.FLUX, "shop", True,
        ),
        (
            {
                "labels": {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "shop"},
                "annotations": {"meta.helm.sh/release-name": "shop"},
            },
            Tool.HELM, "shop", False,
        ),
    ],
)  # fmt: skip
def test_the_tool_that_owns_an_object_is_told_by_its_marks(
    metadata: JSON, tool: Tool, name: str, reconciles: bool
) -> None:
    live = deployment()
    live["metadata"] |= metadata
    found = owner_of(live)
    assert found is not None
    assert (found.tool, found.name, found.reconciles) == (tool, name, reconciles)
    assert bool(caveats_of(live)) is not reconciles
    assert reconciler_of(unowned(live)) is None


def test_a_charts_own_labels_alone_say_nothing() -> None:
    live = deployment()
    live["metadata"]["labels"] |= {"app.kubernetes.io/instance": "shop"}
    live["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    assert owner_of(live) is None
    del live["metadata"]["labels"]["app.kubernetes.io/instance"]
    live["metadata"]["managedFields"] = [{"manager": "argocd-controller"}]
    assert owner_of(live) is None


def test_what_helm_wrote_may_be_changed_and_people_are_told_what_the_next_upgrade_does() -> None:
    live = sized("128Mi")
    live["metadata"]["labels"] |= {"app.kubernetes.io/managed-by": "Helm"}
    target = ref("Deployment", "api")
    found = offers("adjust_resources", scene(target, live), Category.OOM_LIMIT_TOO_LOW, target)
    assert found.feasible and any("next upgrade" in caveat for caveat in found.caveats)


def owned() -> JSON:
    live = sized("128Mi")
    live["metadata"]["labels"] |= {"argocd.argoproj.io/instance": "shop"}
    return live


def pull_requests(monkeypatch: pytest.MonkeyPatch, *apps: str) -> list[Candidate]:
    plugin = ACTIONS["open_pull_request"]
    assert isinstance(plugin, OpenPullRequest)

    def covers(proposal: Proposal) -> bool:
        return proposal.app in apps

    monkeypatch.setattr(plugin, "covers", covers if apps else None)
    target = ref("Deployment", "api")
    return propose(scene(target, owned()), because(Category.OOM_LIMIT_TOO_LOW, target))


def test_for_what_git_owns_a_pull_request_is_offered_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, *others = pull_requests(monkeypatch, "shop")
    assert (first.action.type, first.feasible, first.contains_only) == ("open_pull_request", True, True)
    assert first.action.params["remedy"] == "adjust_resources"
    assert first.action.params["memory_limit"] == "256Mi"
    assert {c.infeasible for c in others} == {Infeasible.OWNED_BY_GITOPS}
    change = prepare("open_pull_request", owned(), **first.action.params).change
    assert change.verb is Verb.PROPOSE and change.body is not None and not change.edits
    edits = Proposal.model_validate(change.body).edits
    assert [str(edit) for edit in edits] == [
        "spec.template.spec.containers[api].resources.limits.memory",
        "spec.template.spec.containers[api].resources.requests.memory",
    ]


@pytest.mark.parametrize("apps", [(), ("billing",)])
def test_without_a_repository_for_it_a_pull_request_is_not_offered(
    monkeypatch: pytest.MonkeyPatch, apps: tuple[str, ...]
) -> None:
    found = {c.action.type: c.infeasible for c in pull_requests(monkeypatch, *apps)}
    assert found["open_pull_request"] is Infeasible.NO_REPOSITORY
    assert not any(infeasible is None for infeasible in found.values())
