"""Actions of a runbook as candidates: made and judged by the action's own code, like every other candidate.

The runbook says what it would like; the live object, the action's bounds, the disruption budget and the owner
in Git say whether that is offered. What is offered still meets policy, dry run and approval.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from activities.actions import ActionPlugin, ReadsLists
from activities.runbooks.asking import Asker, Unanswered, Values
from cortexops.domain.action import Action, Candidate, Infeasible, Prepared
from cortexops.domain.blast import node_radius, workload_radius
from cortexops.domain.change import Verb
from cortexops.domain.errors import CortexError
from cortexops.domain.kubernetes.commands import show
from cortexops.domain.kubernetes.values import objects
from cortexops.domain.resource import JSON, KINDS, ResourceRef
from cortexops.domain.runbook import ActionStep
from cortexops.domain.runbook_run import StepReason, StepStatus
from cortexops.domain.runbook_template import Missing, kind_name, object_name, parameter
from cortexops.domain.scene import Scene
from cortexops.domain.topology import Relation
from cortexops.domain.workload import common_refusal, offered, refused

EFFECT = 0.5
"""How likely a runbook's action mends the cause, by rule: behind what was made for this very cause."""
_MALFORMED = (KeyError, TypeError, AttributeError, IndexError, ValueError)
_WHOLE_WORKLOAD = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")


class Catalogue(Protocol):
    """The actions that exist."""

    def __getitem__(self, kind: str) -> ActionPlugin: ...
    def __contains__(self, kind: str) -> bool: ...


class Offerer:
    """Makes candidates in one investigation; `own` are those that the actions proposed themselves."""

    def __init__(self, catalogue: Catalogue, scene: Scene, asker: Asker, own: Iterable[Candidate]) -> None:
        self._catalogue = catalogue
        self._scene = scene
        self._asker = asker
        self._own = list(own)

    async def offer(self, step: ActionStep, values: Values, because: str) -> Candidate:
        """The candidate, feasible or with the reason why not. Raises `Unanswered` where none can be made."""
        if step.action not in self._catalogue:
            raise Unanswered(StepStatus.SKIPPED, StepReason.NOT_ALLOWED, f"{step.action} is no action here")
        plugin = self._catalogue[step.action]
        spec = plugin.spec
        try:
            target = self._target(step, values)
            params = {name: parameter(value, values) for name, value in step.params.items()}
        except Missing as error:
            raise Unanswered(StepStatus.SKIPPED, StepReason.VALUE_MISSING, str(error)) from None
        if target.kind not in spec.kinds:
            detail = f"{step.action} acts on {', '.join(spec.kinds)}, not on {target}"
            raise Unanswered(StepStatus.SKIPPED, StepReason.INFEASIBLE, detail)
        if set(params) - set(spec.params):
            raise Unanswered(StepStatus.SKIPPED, StepReason.NOT_ALLOWED, "it names parameters that are none")
        if spec.params and not params:
            return self._of_its_own(step, target, because)
        action = Action(type=spec.type, target=target, params=params)
        for known in self._own:
            if known.action.hash == action.hash or (
                not known.feasible and (known.action.type, known.action.target) == (spec.type, target)
            ):
                return _also(known, because)
        return await self._judged(plugin, action, because)

    def _target(self, step: ActionStep, values: Values) -> ResourceRef:
        kind = kind_name(step.target.kind, values)
        if kind not in KINDS:
            raise Missing("target.kind", f"{kind} is no kind that the product knows")
        namespace = object_name(step.target.namespace, values) if KINDS[kind].namespaced else ""
        return self._scene.ref(kind, namespace, object_name(step.target.name, values))

    def _of_its_own(self, step: ActionStep, target: ResourceRef, because: str) -> Candidate:
        for known in self._own:
            if (known.action.type, known.action.target) == (step.action, target):
                return _also(known, because)
        detail = (
            f"{step.action} computes nothing for {target} from this diagnosis; give params to ask for more"
        )
        raise Unanswered(StepStatus.SKIPPED, StepReason.INFEASIBLE, detail)

    async def _judged(self, plugin: ActionPlugin, action: Action, because: str) -> Candidate:
        spec, target = plugin.spec, action.target
        try:
            live = await self._asker.live(target)
        except Unanswered as error:
            if error.reason is not StepReason.NOT_FOUND:
                raise
            return refused(spec, action, Infeasible.OBJECT_GONE, f"{target} was not found")
        refusal = common_refusal(spec, action, live)
        if refusal is not None:
            return refusal
        try:
            reads = await self._reads(plugin, action)
            prepared = plugin.prepare(live, action, reads, self._scene.now)
        except CortexError as error:
            return refused(spec, action, Infeasible.BOUND_REACHED, str(error))
        except _MALFORMED:
            return refused(
                spec, action, Infeasible.BOUND_REACHED, f"{target} has not the fields that {spec.type} needs"
            )
        if target.kind == "Node":
            radius = node_radius(self._scene, target)
        else:
            whole = self._workload(target)
            some = None if target.kind in _WHOLE_WORKLOAD else 1
            radius = workload_radius(self._scene, whole, replicas=some)
            if _of_a_stateful_set(live):
                radius = radius.model_copy(update={"stateful": True})
        against = _against(self._scene, prepared, radius.disruptions_allowed)
        if against is not None:
            return refused(spec, action, *against)
        edits = prepared.change.edits
        return offered(
            spec,
            action,
            effect=EFFECT,
            why=because,
            radius=radius,
            commands=(show(target),),
            caveats=("A runbook asks for it; what was found need not call for it.",),
            before={field.path: field.before for field in edits if field.before_present},
            after={field.path: field.after for field in edits if field.after_present},
        )

    async def _reads(self, plugin: ActionPlugin, action: Action) -> dict[str, JSON]:
        """The further objects that the action needs; it says itself what it makes of one that is gone."""
        found: dict[str, JSON] = {}
        for ref in plugin.reads(action):
            try:
                found[ref.key] = await self._asker.live(ref)
            except Unanswered as error:
                if error.reason is not StepReason.NOT_FOUND:
                    raise
        if isinstance(plugin, ReadsLists):
            for listing in plugin.lists(action):
                found |= {ref.key: obj for ref, obj in self._scene.of_kind(listing.kind)}
        return found

    def _workload(self, ref: ResourceRef) -> ResourceRef:
        here = ref
        for _ in range(4):
            above = self._scene.topology.into(here, Relation.OWNS)
            if not above:
                break
            here = above[0]
        return here


def _also(known: Candidate, because: str) -> Candidate:
    return known.model_copy(update={"why": f"{known.why}; {because}"}) if known.feasible else known


def _against(scene: Scene, prepared: Prepared, allowed: int | None) -> tuple[Infeasible, str] | None:
    """What speaks against the change whatever action makes it: budgets, scalers, the last usable node."""
    change = prepared.change
    target = change.target
    edits = {field.path: field.after for field in change.edits}
    if change.verb is Verb.DELETE and allowed == 0:
        return Infeasible.BUDGET_EXHAUSTED, "the disruption budget allows none"
    if "/spec/replicas" in edits:
        scalers = scene.topology.into(target, Relation.SCALES)
        if scalers:
            return Infeasible.SCALED_BY_HPA, f"{scalers[0]} sets the replicas of {target}"
    if edits.get("/spec/unschedulable") is True and not any(
        ref != target and _takes_pods(node) for ref, node in scene.of_kind("Node")
    ):
        return Infeasible.NO_OTHER_NODE, "no other node that could take new pods was seen"
    return None


def _of_a_stateful_set(live: JSON) -> bool:
    owners = objects(live, "metadata", "ownerReferences")
    return any(owner.get("controller") and owner.get("kind") == "StatefulSet" for owner in owners)


def _takes_pods(node: JSON) -> bool:
    conditions = objects(node, "status", "conditions")
    ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return ready and not (node.get("spec") or {}).get("unschedulable")


def merged(own: list[Candidate], new: Iterable[Candidate]) -> list[Candidate]:
    """The actions' own candidates in their order, the runbook's among them by effect, each action once."""
    found = list(own)
    for candidate in new:
        places = [n for n, known in enumerate(found) if known.action.hash == candidate.action.hash]
        if places:
            found[places[0]] = candidate
            continue
        behind = [
            n
            for n, known in enumerate(found)
            if not known.feasible
            or (candidate.feasible and known.expected_effect < candidate.expected_effect)
        ]
        found.insert(behind[0] if behind and candidate.feasible else len(found), candidate)
    return found
