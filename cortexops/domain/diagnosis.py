"""Hypotheses, their confidence, and the diagnosis chosen from them.

Confidence is computed, never invented: it starts from how directly the evidence shows the cause and is
raised or lowered by time order, distance and counter-evidence. Without deterministic support a verdict
never exceeds `hypothesis`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from pydantic import AwareDatetime, Field

from cortexops.domain.evidence import Evidence, Gap
from cortexops.domain.precedent import Fingerprint, Moved, Precedent
from cortexops.domain.reasoning_use import ModelUse
from cortexops.domain.resource import Frozen, ResourceRef
from cortexops.domain.runbook_run import RunbookRun
from cortexops.domain.signal import Severity
from cortexops.domain.steering import Attempt


class Verdict(StrEnum):
    ROOT_CAUSE = "root_cause"
    HYPOTHESIS = "hypothesis"
    HEALTHY = "healthy"
    EXTERNAL = "external"
    UNKNOWN = "unknown"


class Category(StrEnum):
    """What kind of cause it is. The remedies that fit are chosen by this."""

    OOM_LIMIT_TOO_LOW = "oom_limit_too_low"
    OOM_AFTER_RELEASE = "oom_after_release"
    MEMORY_LEAK = "memory_leak"
    CONFIGMAP_CHANGED = "configmap_changed"
    SECRET_CHANGED = "secret_changed"
    CONFIG_MISSING = "config_missing"
    CRASH_SINCE_RELEASE = "crash_since_release"
    CRASH = "crash"
    IMAGE_NOT_FOUND = "image_not_found"
    IMAGE_PULL_DENIED = "image_pull_denied"
    REGISTRY_UNREACHABLE = "registry_unreachable"
    READINESS_PROBE = "readiness_probe"
    LIVENESS_PROBE = "liveness_probe"
    BAD_ROLLOUT = "bad_rollout"
    QUOTA_EXCEEDED = "quota_exceeded"
    NODE_NOT_READY = "node_not_ready"
    NODE_PRESSURE = "node_pressure"
    DEPENDENCY_DOWN = "dependency_down"
    EXTERNAL_DEPENDENCY = "external_dependency"
    SERVICE_MISROUTED = "service_misrouted"
    SCHEDULING = "scheduling"
    STUCK_POD = "stuck_pod"
    SCALED_TO_ZERO = "scaled_to_zero"
    SCALED_DOWN = "scaled_down"
    BAD_ENTRYPOINT = "bad_entrypoint"
    WRONG_ARCHITECTURE = "wrong_architecture"
    REGISTRY_RATE_LIMITED = "registry_rate_limited"
    INIT_CONTAINER_FAILED = "init_container_failed"
    LIMIT_RANGE = "limit_range"
    NODE_UNSCHEDULABLE = "node_unschedulable"
    VOLUME_UNBOUND = "volume_unbound"
    VOLUME_FULL = "volume_full"
    VOLUME_MULTI_ATTACH = "volume_multi_attach"
    VOLUME_ZONE = "volume_zone"
    CERTIFICATE_EXPIRED = "certificate_expired"
    DNS_FAILURE = "dns_failure"
    NETWORK_POLICY = "network_policy"
    RBAC_DENIED = "rbac_denied"
    ADMISSION_WEBHOOK = "admission_webhook"
    ADMISSION_DENIED = "admission_denied"
    SERVICE_ACCOUNT_MISSING = "service_account_missing"
    NAMESPACE_TERMINATING = "namespace_terminating"
    HPA_MAXED_OUT = "hpa_maxed_out"
    HPA_NO_METRICS = "hpa_no_metrics"
    CPU_THROTTLING = "cpu_throttling"
    CONNECTION_SATURATION = "connection_saturation"
    JOB_FAILED = "job_failed"
    JOB_DEADLINE_EXCEEDED = "job_deadline_exceeded"
    CRONJOB_SUSPENDED = "cronjob_suspended"
    PDB_BLOCKS_EVICTION = "pdb_blocks_eviction"
    STATEFULSET_STUCK = "statefulset_stuck"
    ROLLOUT_PAUSED = "rollout_paused"
    ROLLOUT_SLOW = "rollout_slow"
    FINALIZER_WAITS = "finalizer_waits"
    DISK_EXHAUSTED = "disk_exhausted"
    CHAOS_EXPERIMENT = "chaos_experiment"
    MESH_ROUTE = "mesh_route"
    MESH_POLICY = "mesh_policy"
    AUTOSCALER_PAUSED = "autoscaler_paused"
    SECRET_NOT_SYNCED = "secret_not_synced"
    DELIVERY_FAILED = "delivery_failed"
    LOCK_HELD = "lock_held"
    EDGE_SETTING = "edge_setting"
    STORE_LOADED = "store_loaded"
    UNKNOWN = "unknown"


class Support(Frozen):
    """What the confidence is computed from.

    `direct` (0–1): how directly the evidence shows this very cause (1: the object's own status says so).
    `precedes_onset`: the change came before the trouble (True), after it (False), or no change is claimed.
    `distance`: topology steps from the alerting object to the cause.
    `deterministic`: a rule over stored evidence supports it, not only wording or a model.
    """

    direct: float = Field(ge=0, le=1)
    precedes_onset: bool | None = None
    touches_failing: bool = True
    distance: int = 0
    deterministic: bool = True


class Hypothesis(Frozen):
    """A claim about the cause, citing evidence for and against; `explains` are symptoms it accounts for."""

    resource: ResourceRef
    category: Category
    summary: str
    support: Support
    evidence: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    explains: tuple[Category, ...] = ()
    container: str = ""
    facts: dict[str, str] = Field(default_factory=dict)
    """Measured values that remedies need (`limit`, `revision`, `previous_revision` …), as strings."""
    confidence: float = 0.0


_DIRECT = 0.9
_CHANGE_BEFORE = 0.08
_CHANGE_AFTER = -0.35
_NOT_TOUCHING = -0.25
_PER_STEP = 0.02
_PER_COUNTER = 0.15
_CEILING = 0.97
_SOFT_CEILING = 0.6  # without deterministic support
_NOT_THE_CAUSE = 0.49
_EXPLAINED = 0.5
ROOT_CAUSE_FROM = 0.7
"""From this confidence on, a deterministic cause is called the root cause."""
HYPOTHESIS_FROM = 0.45
"""Below it nobody is blamed: what was seen says that something is wrong, not why."""


def confidence(hypothesis: Hypothesis) -> float:
    """The documented sum, cut to 0–0.97 (0.6 without deterministic support), two decimals.

    0.9 x direct, +0.08 for a change before the onset, -0.35 for one after it, -0.25 when the change does
    not touch what fails, -0.02 per topology step beyond the third, -0.15 per piece of counter-evidence.
    """
    support = hypothesis.support
    value = _DIRECT * support.direct
    if support.precedes_onset is True:
        value += _CHANGE_BEFORE
    elif support.precedes_onset is False:
        value += _CHANGE_AFTER
    if not support.touches_failing:
        value += _NOT_TOUCHING
    value -= _PER_STEP * max(0, support.distance - 3)
    value -= _PER_COUNTER * len(hypothesis.against)
    return round(min(max(value, 0.0), ceiling_of(support)), 2)


def ceiling_of(support: Support) -> float:
    """The confidence that nothing raises a hypothesis above: 0.97, or 0.6 without deterministic support."""
    return _CEILING if support.deterministic else _SOFT_CEILING


class Lean(NamedTuple):
    """What experience adds to the standing that evidence gives a hypothesis; the plain one adds nothing.

    `shift` moves the confidence within its bounds. `last` puts it behind all others, and what it explains
    is explained no more. `tie` decides among equals only: the higher stands first.
    """

    shift: float = 0.0
    last: bool = False
    tie: float = 0.0


def _plain(_: Hypothesis) -> Lean:
    return Lean()


def rank(hypotheses: list[Hypothesis], lean: Callable[[Hypothesis], Lean] = _plain) -> list[Hypothesis]:
    """Scored and ordered, best first; a symptom that a likelier cause explains stands below it.

    A hypothesis whose category another one `explains` cannot lead, unless its confidence is above the
    explaining one's by more than 0.3: then the explanation is weaker than the thing itself. That a callee is
    down explains what its callers suffer, never what is wrong with the callee or with those that it calls.

    There is one cause: no two objects can each be it more likely than not, so that whatever does not lead
    and names another object than the lead is cut to 0.49. What is explained away is halved besides.
    """
    scored = [h.model_copy(update={"confidence": _shifted(h, lean(h).shift)}) for h in hypotheses]
    causes = [h for h in scored if not lean(h).last]

    def folded(symptom: Hypothesis) -> bool:
        return any(
            symptom.category in cause.explains
            and symptom.category is not cause.category
            and not (cause.category is Category.DEPENDENCY_DOWN and _lies_behind(symptom, cause))
            and cause.confidence + 0.3 >= symptom.confidence
            for cause in causes
        )

    ordered = sorted(
        scored,
        key=lambda h: (
            lean(h).last, folded(h), -h.confidence, -lean(h).tie, h.category, str(h.resource)
        ),
    )  # fmt: skip
    return [h if place == 0 else _behind(h, ordered[0], folded(h)) for place, h in enumerate(ordered)]


def _lies_behind(symptom: Hypothesis, callee: Hypothesis) -> bool:
    """Whether it is about the callee itself, or about somebody further from the alert."""
    return symptom.resource == callee.resource or symptom.support.distance > callee.support.distance


def _shifted(hypothesis: Hypothesis, shift: float) -> float:
    value = confidence(hypothesis)
    if not shift:
        return value
    return round(min(max(value + shift, 0.0), ceiling_of(hypothesis.support)), 2)


def _behind(hypothesis: Hypothesis, lead: Hypothesis, folded: bool) -> Hypothesis:
    """With the confidence that is left to it beside the leading one."""
    most = lead.confidence if hypothesis.resource == lead.resource else _NOT_THE_CAUSE
    left = round(hypothesis.confidence * (_EXPLAINED if folded else 1.0), 2)
    return hypothesis.model_copy(update={"confidence": min(left, most)})


def verdict_of(ranked: list[Hypothesis], *, healthy: bool) -> Verdict:
    """How sure we are: the leading hypothesis' confidence and support decide the wording."""
    if not ranked:
        return Verdict.HEALTHY if healthy else Verdict.UNKNOWN
    lead = ranked[0]
    if lead.category is Category.EXTERNAL_DEPENDENCY:
        return Verdict.EXTERNAL
    if lead.category is Category.UNKNOWN or lead.confidence < HYPOTHESIS_FROM:
        return Verdict.UNKNOWN
    if lead.support.deterministic and lead.confidence >= ROOT_CAUSE_FROM:
        return Verdict.ROOT_CAUSE
    return Verdict.HYPOTHESIS


class Diagnosis(Frozen):
    """What the investigation of one incident concluded."""

    target: ResourceRef
    verdict: Verdict
    hypotheses: tuple[Hypothesis, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    gaps: tuple[Gap, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    """Texts that try to steer their reader. They had no influence and are no evidence; people are told."""
    affected: tuple[ResourceRef, ...] = ()
    examined: tuple[ResourceRef, ...] = ()
    known: tuple[str, ...] = ()
    """Where the cause is unknown: what was seen that is not well, in sentences of names and numbers."""
    onset: AwareDatetime | None = None
    severity: Severity = Severity.MEDIUM
    llm_used: bool = False
    similar: tuple[str, ...] = ()
    """Ids of verified earlier incidents that look like this one, with what worked."""
    precedents: tuple[Precedent, ...] = ()
    """The same incidents with everything that is known of them, in the same order."""
    moved: tuple[Moved, ...] = ()
    """What feedback on earlier incidents changed in the order of the hypotheses."""
    led_by: tuple[str, ...] = ()
    """Earlier incidents without which another hypothesis would lead; empty where evidence alone decides."""
    fingerprint: Fingerprint | None = None
    """How the alerting object was made when it was looked at."""
    model: ModelUse | None = None
    """What a model contributed, and what it cost; None when none was asked."""
    runbook: RunbookRun | None = None
    """The team's runbook for this incident and what became of its steps."""

    @property
    def sure(self) -> float:
        """The confidence that automation may rely on: a model may lower what code computed, never raise it."""
        if self.cause is None:
            return 0.0
        measured = self.model.measured if self.model is not None else None
        return self.cause.confidence if measured is None else min(self.cause.confidence, measured)

    @property
    def cause(self) -> Hypothesis | None:
        """The leading hypothesis, unless the verdict is that nothing is wrong or nothing can be known."""
        if self.verdict in (Verdict.HEALTHY, Verdict.UNKNOWN) or not self.hypotheses:
            return None
        return self.hypotheses[0]

    @property
    def summary(self) -> str:
        """One sentence, worded by how sure it is."""
        cause = self.cause
        if cause is None:
            fine = f"{self.target} is healthy: nothing wrong was found."
            if self.known:
                fine = f"Nothing wrong was found: {'; '.join(self.known)}."
            return {
                Verdict.HEALTHY: fine,
            }.get(
                self.verdict,
                f"The cause of the trouble on {self.target} could not be determined from here."
                + (f" Known: {'; '.join(self.known)}." if self.known else ""),
            )
        words = {
            Verdict.ROOT_CAUSE: "Root cause",
            Verdict.HYPOTHESIS: "Hypothesis, verify first",
            Verdict.EXTERNAL: "Outside the cluster",
        }[self.verdict]
        return f"{words} ({cause.confidence:.2f}): {cause.summary}"
