"""Propose a remedy in Git for an object that a GitOps controller owns: a pull request instead of a change."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from datetime import datetime

from activities.actions import ACTIONS, Listing, ReadsLedger, ReadsLists, register
from cortexops.domain.action import Action, ActionSpec, Candidate, Infeasible, Permission, Prepared, Risk
from cortexops.domain.change import Change, Verb
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.errors import InvalidInput, Rejected
from cortexops.domain.manifest import Proposal, manifest_edits
from cortexops.domain.ownership import Ownership, owner_of, reconciler_of
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.workload import affected_workload, offered, refused

REMEDIES = (
    "adjust_resources", "rollback_rollout", "scale_workload", "hpa_bounds", "resume_rollout",
    "resume_cronjob", "suspend_cronjob", "patch_config",
)  # fmt: skip
"""Actions whose change is one of fields that stand in Git. The others act on what is not written down there."""
_KINDS = ("Deployment", "StatefulSet", "DaemonSet", "HorizontalPodAutoscaler", "CronJob", "ConfigMap")


class OpenPullRequest:
    spec = ActionSpec(
        type="open_pull_request",
        title="Open pull request",
        description="Propose a remedy in the Git repository that the object's GitOps controller reads. Nothing is "
        "changed in the cluster until a person merges it.",
        risk=Risk.LOW,
        reversible=True,
        kinds=_KINDS,
        params={
            "remedy": f"the action whose change is proposed: one of {', '.join(REMEDIES)}; its own parameters "
            "and bounds hold besides",
            "container": "as of the remedy",
            "memory_limit": "as of the remedy",
            "memory_request": "as of the remedy",
            "cpu_limit": "as of the remedy",
            "cpu_request": "as of the remedy",
            "to_revision": "as of the remedy",
            "replica_set": "as of the remedy",
            "replicas": "as of the remedy",
            "max_replicas": "as of the remedy",
            "key": "as of the remedy",
            "source": "as of the remedy",
            "value": "as of the remedy",
            "operation": "as of the remedy",
        },
        permissions=(Permission(group="apps", resource="deployments", verbs=("get",)),),
        criteria=("change_in_place",),
        contains_only=True,
    )
    covers: Callable[[Proposal], bool] | None = None
    """Whether a repository is configured for an object; None where no repositories are configured at all."""
    unmapped: Callable[[Proposal], str] | None = None
    """Why the edits cannot be made in the values of the chart that renders an object; empty: they can."""

    def propose(self, scene: Scene, diagnosis: Diagnosis) -> list[Candidate]:
        target = affected_workload(scene, diagnosis)
        cause = diagnosis.cause.resource if diagnosis.cause else None
        owned = [ref for ref in dict.fromkeys((cause, target)) if ref is not None and self._owned(scene, ref)]
        if not owned:
            return []
        objects = {ref.key: unowned(scene.objects[ref.key]) for ref in owned}
        free = scene.model_copy(update={"objects": {**scene.objects, **objects}})
        found: list[Candidate] = []
        for remedy in REMEDIES:
            for candidate in ACTIONS[remedy].propose(free, diagnosis) if remedy in ACTIONS else ():
                live = scene.get(candidate.action.target)
                if candidate.feasible and live is not None and candidate.action.target in owned:
                    found.append(self._instead_of(candidate, live, scene))
        return found

    def _owned(self, scene: Scene, ref: ResourceRef) -> bool:
        live = scene.get(ref)
        if live is None or ref.kind not in _KINDS:
            return False
        owner = owner_of(live)
        if owner is None or owner.reconciles:
            return owner is not None
        # what Helm wrote is changed in the cluster, unless people have said where its values are
        return owner.chart and self.covers is not None and self.covers(_proposal(ref, owner))

    def _instead_of(self, candidate: Candidate, live: JSON, scene: Scene) -> Candidate:
        inner, owner = candidate.action, owner_of(live)
        action = Action(
            type=self.spec.type, target=inner.target, params={"remedy": inner.type, **inner.params}
        )
        assert owner is not None
        proposal = _proposal(inner.target, owner)
        if self.covers is None or not self.covers(proposal):
            why = (
                f"no repository is configured with the chart values of {inner.target} (git.repositories.values)"
                if owner.chart
                else f"no repository is configured that {inner.target} would be in (git.repositories)"
            )
            return refused(self.spec, action, Infeasible.NO_REPOSITORY, why)
        unmapped = self._unmapped(proposal, inner, live, scene) if owner.chart else ""
        if unmapped:
            return refused(self.spec, action, Infeasible.NO_REPOSITORY, unmapped)
        tool = owner.tool
        lost = (
            f"in the cluster {tool} would revert them."
            if owner.reconciles
            else f"in the cluster the next upgrade of release {owner.name} would overwrite them."
        )
        made = offered(
            self.spec,
            action,
            effect=candidate.expected_effect * (0.9 if owner.reconciles else 1),
            why=f"{tool} owns {inner.target}, so the change goes through Git: {candidate.why}",
            radius=candidate.blast_radius,
            commands=candidate.commands,
            caveats=(
                "Nothing changes until a person merges the pull request.",
                f"The commands are what it amounts to; {lost}",
                *candidate.caveats,
            ),
        )
        return made.model_copy(update={"planned": candidate.planned, "risk": self.spec.risk})

    def _unmapped(self, proposal: Proposal, inner: Action, live: JSON, scene: Scene) -> str:
        """Why the remedy's edits are not known to be values of the chart; the dry run asks the file besides."""
        try:
            made = ACTIONS[inner.type].prepare(unowned(live), inner, scene.objects, scene.now)
            edits = manifest_edits(made.change.edits, live)
        except Rejected as error:
            return str(error)
        return self.unmapped(proposal.model_copy(update={"edits": edits})) if self.unmapped else ""

    def reads(self, action: Action) -> list[ResourceRef]:
        return ACTIONS[_remedy(action)].reads(_inner(action))

    def lists(self, action: Action) -> list[Listing]:
        plugin = ACTIONS[_remedy(action)]
        return plugin.lists(_inner(action)) if isinstance(plugin, ReadsLists) else []

    def operations(self, action: Action) -> list[str]:
        plugin = ACTIONS[_remedy(action)]
        return plugin.operations(_inner(action)) if isinstance(plugin, ReadsLedger) else []

    def prepare(self, live: JSON, action: Action, reads: Mapping[str, JSON], now: datetime) -> Prepared:
        owner = owner_of(live)
        if owner is None or not (owner.reconciles or owner.chart):
            raise Rejected(f"no GitOps controller owns {action.target}: it can be changed here")
        plugin = ACTIONS[_remedy(action)]
        if action.target.kind not in plugin.spec.kinds:
            raise InvalidInput("target", f"{plugin.spec.type} does not act on a {action.target.kind}")
        made = plugin.prepare(unowned(live), _inner(action), reads, now)
        edits = manifest_edits(made.change.edits, live)
        proposal = _proposal(action.target, owner).model_copy(update={"edits": edits})
        change = Change(
            verb=Verb.PROPOSE,
            target=action.target,
            uid=live["metadata"]["uid"],
            body=proposal.model_dump(mode="json"),
        )
        return Prepared(action=action, change=change)


def _proposal(target: ResourceRef, owner: Ownership) -> Proposal:
    return Proposal(target=target, app=owner.name, app_namespace=owner.namespace, chart=owner.chart, edits=())


def _remedy(action: Action) -> str:
    remedy = action.text("remedy")
    if remedy not in REMEDIES:
        raise InvalidInput(
            "remedy", f"{remedy!r} cannot be proposed in Git: use one of {', '.join(REMEDIES)}"
        )
    return remedy


def _inner(action: Action) -> Action:
    params = {key: value for key, value in action.params.items() if key != "remedy"}
    return Action(type=_remedy(action), target=action.target, params=params)


def unowned(live: JSON) -> JSON:
    """The object as it would be without a GitOps controller: for the bounds of actions, which hold anyway."""
    free: JSON = copy.deepcopy(live)
    for _ in range(20):
        owner = reconciler_of(free)
        if owner is None:
            break
        for place in ("labels", "annotations"):
            (free["metadata"].get(place) or {}).pop(owner.mark, None)
        if owner.mark.startswith("field manager"):
            free["metadata"].pop("managedFields", None)
    return free


register(OpenPullRequest())
