"""What a scenario file holds. Durations of steps and models are nominal seconds."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from cortexops.domain.diagnosis import Category, Verdict
from cortexops.domain.incident import IncidentState
from cortexops.domain.resource import JSON, Frozen
from sandbox.cluster.kubelet.images import Images
from sandbox.cluster.kubelet.models import WorkloadModel


class Target(Frozen):
    """One object in the scenario's cluster."""

    kind: str
    namespace: str = ""
    name: str


class Revision(Frozen):
    """One past or present revision of a Deployment; `images` are those of its containers then."""

    revision: int
    age: str
    images: dict[str, str] = Field(default_factory=dict)


class History(Frozen):
    """How a Deployment came to be: its revisions, oldest first, the last is the one in `objects`.

    `nodes` places its pods; without it they go round all nodes.
    """

    deployment: str
    revisions: tuple[Revision, ...] = Field(min_length=1)
    nodes: tuple[str, ...] = ()


class Edit(Target):
    """A merge patch in the name of a field manager, if wanted some time ago."""

    manager: str
    ago: str = "0s"
    patch: JSON


class PodsOf(Frozen):
    """Pods by namespace and labels."""

    namespace: str
    labels: dict[str, str]


class Reachability(Frozen):
    """An address outside the cluster, `host` or `host:port`."""

    address: str
    up: bool


class ModelChange(Frozen):
    """New values for a model's fields."""

    name: str
    set: dict[str, Any]


class Pressure(Frozen):
    """A node condition to raise or clear."""

    node: str
    kind: Literal["MemoryPressure", "DiskPressure", "PIDPressure"]
    on: bool = True


class Step(Frozen):
    """One thing that happens `at` seconds after the scenario began."""

    at: float = 0.0
    title: str
    edit: Edit | None = None
    apply: JSON | None = None
    delete: Target | None = None
    delete_pods: PodsOf | None = None
    restart_containers: PodsOf | None = None
    break_node: str | None = None
    heal_node: str | None = None
    external: Reachability | None = None
    model: ModelChange | None = None
    pressure: Pressure | None = None

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        if len(self.model_fields_set - {"at", "title"}) != 1:
            raise ValueError(f"step {self.title!r} must do exactly one thing")
        return self


class Alert(Frozen):
    """One alert as Prometheus would raise it."""

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str = "$now"


class Symptom(Frozen):
    """The broken state that shows: at least `pods` pods with a container in that state, or a node's Ready.

    `reason` is a waiting reason, a (last) terminated reason, or `NotReady` for running unready pods.
    `stalled` names a Deployment (`namespace/name`) whose rollout exceeded its deadline.
    """

    namespace: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    reason: str = ""
    pods: int = 1
    restarts: int = 0
    node: str = ""
    stalled: str = ""


class Action(Frozen):
    """The remedy that is right, as the product names it."""

    type: str
    target: Target
    params: dict[str, Any] = Field(default_factory=dict)


class Truth(Frozen):
    """What is really wrong and how it should end. `heals` says whether the action makes it healthy.

    `category` is what the evidence at the time of the alert supports; where only the failing remedy shows what it
    really was, that is `revealed`. `end_state` names the states in which the incident may rightly end, with `/`
    between them.
    """

    root_cause: Target | None
    category: Category
    revealed: Category | None = None
    verdict: Verdict
    summary: str
    action: Action | None = None
    alternatives: tuple[Action, ...] = ()
    heals: bool = True
    end_state: str

    @field_validator("end_state")
    @classmethod
    def _names_states(cls, value: str) -> str:
        for state in value.split("/"):
            if not IncidentState(state.strip()).final:
                raise ValueError(f"{state} is no final state")
        return value


class Part(Frozen):
    """Objects and models shared by scenarios."""

    objects: tuple[JSON, ...] = ()
    history: tuple[History, ...] = ()
    models: tuple[WorkloadModel, ...] = ()


class Scenario(Part):
    """A cluster, what happens in it, the alert that results, and the truth about it.

    Its namespaces are its own, so that several scenarios fit into one cluster; `home` is where its included
    parts go. `nodes` are added for it alone, with the taint `dedicated=<home>:NoSchedule`.
    """

    name: str
    title: str
    description: str
    home: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    environment: Literal["production", "staging"]
    include: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    images: Images = Images()
    steps: tuple[Step, ...]
    alerts: tuple[Alert, ...] = Field(min_length=1)
    symptoms: tuple[Symptom, ...] = Field(min_length=1)
    truth: Truth

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces that it makes."""
        return tuple(obj["metadata"]["name"] for obj in self.objects if obj["kind"] == "Namespace")
