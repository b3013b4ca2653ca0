"""Case: a solved incident as memory keeps it, so that the next one like it can cite it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from pydantic import AwareDatetime

from cortexops.domain.action import Action
from cortexops.domain.diagnosis import Diagnosis
from cortexops.domain.findings import roots
from cortexops.domain.ids import digest
from cortexops.domain.incident import Incident, IncidentState, Reason
from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.pods import containers
from cortexops.domain.kubernetes.references import claims, config_uses
from cortexops.domain.kubernetes.values import mapping, number, objects, text
from cortexops.domain.ledger import LedgerRow
from cortexops.domain.precedent import Fingerprint, Tried
from cortexops.domain.resource import JSON, Frozen, ResourceRef
from cortexops.domain.scene import Scene

_HASH = 16  # hex digits: enough to tell versions apart, of no use to anybody who guesses values
_MOST_CONFIGS = 50
_MOST_KINDS = 20
_MOST_TRIED = 10


class Case(Frozen):
    """A verified outcome: what it looked like (`text`, redacted), what was done, and how that ended.

    `verified` says that the outcome was measured, well or ill; `action` is the last one, `tried` are all.
    """

    incident_id: str
    cluster: str
    namespace: str
    kind: str
    name: str
    category: str
    text: str
    action: str
    action_type: str
    outcome: str
    verified: bool
    at: AwareDatetime
    tried: tuple[Tried, ...] = ()
    verification: str = ""
    onset: AwareDatetime | None = None
    runbook: str = ""
    fingerprint: Fingerprint = Fingerprint()

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Which object it was about."""
        return self.cluster, self.namespace, self.kind, self.name


class Recalled(Frozen):
    """A case that looks like the present incident. `score` orders, `likeness` (0–1) is how alike they are."""

    case: Case
    score: float
    likeness: float = 0.0


def case_text(incident: Incident, diagnosis: Diagnosis) -> str:
    """What similarity is computed over: the title, the cause and the evidence's summaries."""
    return question_text(incident.title, diagnosis)


def case_of(incident: Incident, diagnosis: Diagnosis, action: Action, *, at: datetime) -> Case:
    """What the end of an incident says of its last change."""
    cause = diagnosis.cause
    return Case(
        incident_id=incident.id,
        cluster=incident.resource.cluster,
        namespace=incident.resource.namespace,
        kind=incident.resource.kind,
        name=incident.resource.name,
        category=cause.category if cause else "unknown",
        text=case_text(incident, diagnosis),
        action=str(action),
        action_type=action.type,
        outcome=incident.state,
        verified=True,
        at=at,
    )


def question_text(title: str, diagnosis: Diagnosis) -> str:
    """The same of an incident that is being investigated: like is compared with like."""
    cause = diagnosis.cause
    lines = [title]
    if cause is not None:
        lines += [cause.category, cause.summary]
    lines += [fact.summary for fact in diagnosis.evidence[:20]]
    return "\n".join(lines)


def teaches(state: IncidentState, reason: Reason) -> bool:
    """Whether an end says of the change that was made last that it helped, or that it did not. What ended by
    itself, or as part of another incident, says neither."""
    helped = state in (IncidentState.RESOLVED, IncidentState.CONTAINED) and reason is Reason.VERIFIED
    return helped or state in (IncidentState.ROLLED_BACK, IncidentState.ESCALATED)


def completed(case: Case, diagnosis: Diagnosis | None, rows: Sequence[LedgerRow]) -> Case:
    """With what the books know beside: everything that was tried, how it ended, and what the place was like."""
    tried = tuple(
        Tried(action=str(row.action), action_type=row.action.type, result=row.state.value)
        for row in sorted(rows, key=lambda row: (row.attempt, row.step))[:_MOST_TRIED]
    )
    changes: dict[str, object] = {"tried": tried or case.tried}
    if tried and not case.verification:
        changes["verification"] = "Successful" if tried[-1].worked else "Failed"
    if diagnosis is not None:
        changes["onset"] = diagnosis.onset or case.onset
        changes["fingerprint"] = diagnosis.fingerprint or case.fingerprint
        changes["runbook"] = diagnosis.runbook.id if diagnosis.runbook else case.runbook
    return case.model_copy(update=changes)


def masked(case: Case, clean: Callable[[str], str]) -> Case:
    """Every free text of the case through `clean`; whatever that raises goes to the caller: store nothing."""
    return case.model_copy(
        update={
            "text": clean(case.text),
            "action": clean(case.action),
            "runbook": clean(case.runbook),
            "tried": tuple(t.model_copy(update={"action": clean(t.action)}) for t in case.tried),
        }
    )


def fingerprint_of(scene: Scene) -> Fingerprint:
    """How the target is made. Of ConfigMaps a hash of the content is taken, of Secrets one of their version."""
    target = scene.target
    found = roots(scene)
    workload = found[0] if found else target
    obj = scene.get(workload) or {}
    pods = scene.pods_of(workload)
    spec = _pod_spec(obj) or (_pod_spec(pods[0][1]) if pods else {})
    return Fingerprint(
        kind=target.kind,
        owner_kind=workload.kind,
        stateful=workload.kind == "StatefulSet" or bool(claims(spec)),
        containers=len(objects(spec, "containers")),
        init_containers=len(objects(spec, "initContainers")),
        replicas=number(obj, "spec", "replicas"),
        kinds=tuple(sorted({key.split(":", 3)[2] for key in scene.objects})[:_MOST_KINDS]),
        images=_images(spec, [pod for _, pod in pods]),
        configs=_configs(scene, workload.namespace, spec),
    )


def _pod_spec(obj: JSON) -> JSON:
    if obj.get("kind") == "Pod":
        return mapping(obj, "spec")
    return mapping(obj, "spec", "template", "spec") or mapping(
        obj, "spec", "jobTemplate", "spec", "template", "spec"
    )


def _images(spec: JSON, pods: Sequence[JSON]) -> dict[str, str]:
    """By container: the digest that the newest pod runs, else the reference that is asked for."""
    wanted = {text(c, "name"): text(c, "image") for c in containers(spec)}
    digests: dict[str, tuple[datetime | None, str]] = {}
    for pod in pods:
        born = meta.created(pod)
        asked = {text(c, "name"): text(c, "image") for c in containers(mapping(pod, "spec"))}
        for part in ("containerStatuses", "initContainerStatuses"):
            for status in objects(pod, "status", part):
                name, image = text(status, "name"), text(status, "imageID").rpartition("@")[2]
                older = digests.get(name, (None, ""))[0]
                newer = older is None or (born is not None and born >= older)
                if image.startswith("sha256:") and asked.get(name) == wanted.get(name) and newer:
                    digests[name] = (born, image)
    return {name: digests.get(name, (None, image))[1] for name, image in sorted(wanted.items())}


def _configs(scene: Scene, namespace: str, spec: JSON) -> dict[str, str]:
    found: dict[str, str] = {}
    for use in config_uses(spec)[:_MOST_CONFIGS]:
        ref = ResourceRef(cluster=scene.cluster, kind=use.kind, namespace=namespace, name=use.name)
        obj = scene.get(ref)
        seen = _config_hash(use.kind, obj) if obj is not None else ""
        if seen:
            found[f"{use.kind}/{use.name}"] = seen
    return dict(sorted(found.items()))


def _config_hash(kind: str, obj: JSON) -> str:
    try:
        return _hashed(kind, obj)
    except ValueError:  # not a text that can be written as UTF-8 or JSON: it says nothing about sameness
        return ""


def _hashed(kind: str, obj: JSON) -> str:
    if kind == "Secret":  # its values were never read; the API server's version tells that they were written
        return digest([sorted(mapping(obj, "data")), _version(obj)])[:_HASH]
    return digest([mapping(obj, "data"), sorted(mapping(obj, "binaryData").items())])[:_HASH]


def _version(obj: JSON) -> list[str]:
    return [text(obj, "metadata", "uid"), text(obj, "metadata", "resourceVersion")]
