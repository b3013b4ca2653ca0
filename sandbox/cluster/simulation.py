"""The simulated cluster as a whole: API server, control loops, kubelet, and scenarios that break it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import Conflict, InvalidInput
from cortexops.domain.resource import JSON
from sandbox.cluster.clients import ControllerClient, KubeletClient
from sandbox.cluster.controllers.informer import Informer
from sandbox.cluster.controllers.manager import ControllerManager
from sandbox.cluster.controllers.objects import is_ready, key_of, labels_match
from sandbox.cluster.kubelet.images import Images
from sandbox.cluster.kubelet.kubelet import Kubelet
from sandbox.cluster.kubelet.models import WorkloadModel
from sandbox.cluster.logs import MemoryLogs
from sandbox.cluster.seeding import Seeder
from sandbox.cluster.server import SimulatedApiServer
from sandbox.cluster.symptoms import settled, shows, worst_pod
from sandbox.scenarios import load_scenario
from sandbox.scenarios.alertmanager import webhook
from sandbox.scenarios.schema import Scenario, Step
from sandbox.scenarios.templates import expand, span

_FIRST = ("Namespace", "ConfigMap", "Secret", "PersistentVolumeClaim", "ServiceAccount")


class SimulatedCluster:
    """`speed` shortens every duration; `nodes` of 8 CPUs and 16Gi each.

    With `data_dir` the objects outlive the process. Use as an async context manager or `start`/`stop`.
    """

    def __init__(
        self,
        name: str = "sandbox",
        port: int = 0,
        speed: float = 10.0,
        nodes: int = 3,
        data_dir: str | Path | None = None,
        *,
        eviction_seconds: float = 120.0,
    ) -> None:
        self.name = name
        self.speed = speed
        self._logs = MemoryLogs()
        self.server = SimulatedApiServer(port, data_dir=data_dir, log_source=self._logs)
        self._nodes = nodes
        self._eviction = eviction_seconds
        self._stack = AsyncExitStack()
        self._folder = ""
        self._loaded: dict[str, Scenario] = {}
        self._models: dict[str, tuple[WorkloadModel, ...]] = {}
        self._loading = asyncio.Lock()
        self._changed = asyncio.Event()

    @property
    def url(self) -> str:
        """Where the API server listens."""
        return self.server.url

    def kubeconfig(self, path: str | Path, identity: str = "admin") -> str:
        """Write a kubeconfig for an identity; answers its path."""
        return self.server.kubeconfig(path, identity, cluster=self.name)

    async def cluster(self, identity: str = "admin") -> KubernetesCluster:
        """A client, closed when the simulation stops."""
        config = self.kubeconfig(Path(self._folder) / f"{identity}.kubeconfig", identity)
        client = await KubernetesCluster.connect(self.name, config)
        self._stack.push_async_callback(client.close)
        return client

    async def start(self) -> None:
        """Start the API server, the control loops and the kubelet."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self) -> None:
        self._folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="simulated-cluster-"))
        await self.server.start()
        self._stack.push_async_callback(self.server.stop)
        config = self.kubeconfig(Path(self._folder) / "system.kubeconfig")
        loops = await ControllerClient.connect(self.name, config)
        self._stack.push_async_callback(loops.close)
        node_agent = await KubeletClient.connect(self.name, config)
        self._stack.push_async_callback(node_agent.close)
        self.controllers = ControllerManager(loops, speed=self.speed, eviction_seconds=self._eviction)
        context = self.controllers.context
        self.kubelet = Kubelet(
            node_agent,
            speed=self.speed,
            nodes=self._nodes,
            informers=context.informers,
            events=context.events,
            logs=self._logs,
        )
        for kind in ("Pod", "Node", "Deployment", "StatefulSet", "Namespace", "ConfigMap", "Secret"):
            context.informers[kind].on_change(lambda _old, _new: self._changed.set())
        self._stack.push_async_callback(self.controllers.stop)
        await self.controllers.start()
        self._stack.push_async_callback(self.kubelet.stop)
        await self.kubelet.start()
        self._seeder = Seeder(self.server.store, list(self.kubelet.nodes))
        self._admin = await self.cluster()

    async def stop(self) -> None:
        """Stop everything. Raises ExceptionGroup when a part had broken down."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @property
    def loaded(self) -> Sequence[str]:
        """The names of the scenarios in this cluster."""
        return list(self._loaded)

    async def load(self, scenario: Scenario | str) -> Scenario:
        """Add a scenario's healthy beginning to the cluster; returns when its pods are ready.

        Raises InvalidInput for an unknown scenario and Conflict when it is already in this cluster.
        """
        plan = load_scenario(scenario) if isinstance(scenario, str) else scenario
        async with self._loading:
            taken = self._taken(plan)
            if taken:
                raise Conflict(f"scenario {plan.name} cannot be loaded: {taken}")
            self._loaded[plan.name] = plan
            self._models[plan.name] = plan.models
            self._declare()
            for node in plan.nodes:
                taint = {"key": "dedicated", "value": plan.home, "effect": "NoSchedule"}
                await self.kubelet.add_node(node, [taint])
            await self._fill(plan)
        return plan

    def _taken(self, plan: Scenario) -> str:
        if plan.name in self._loaded:
            return "it is already there"
        there = [one for one in plan.namespaces if self.server.store.get("namespaces", "", one) is not None]
        return f"namespace {there[0]} exists" if there else ""

    async def _fill(self, plan: Scenario) -> None:
        objects: list[JSON] = expand(list(plan.objects), datetime.now(UTC))
        histories = {history.deployment: history for history in plan.history}
        self.controllers.pause()
        try:
            made = [self._seeder.create(obj) | {"kind": obj["kind"]} for obj in _first(objects)]
            await self._seen(made)  # pods read their configuration the moment they are seen
            pods: list[JSON] = []
            for obj in objects:
                if obj["kind"] == "Deployment":
                    pods += self._seeder.deployment(obj, histories.get(key_of(obj)))
                elif obj["kind"] not in _FIRST:
                    self._seeder.create(obj)
            await self._ready(pods)
        finally:
            self.controllers.resume()
        wanted = {key_of(obj): obj for obj in objects if obj["kind"] == "StatefulSet"}
        await self._until(
            lambda: all(
                ((self._informer("StatefulSet").get(key) or {}).get("status") or {}).get("readyReplicas", 0)
                >= obj["spec"].get("replicas", 1)
                for key, obj in wanted.items()
            ),
            "StatefulSets to be ready",
        )

    async def run_step(self, plan: Scenario, step: Step) -> None:
        """Carry out one step of a loaded scenario now."""
        now = datetime.now(UTC)
        if step.edit is not None:
            edit = step.edit
            self._seeder.edit(
                edit.kind,
                edit.namespace,
                edit.name,
                expand(edit.patch, now),
                manager=edit.manager,
                when=now - span(edit.ago),
            )
        elif step.apply is not None:
            await self._apply(expand(step.apply, now))
        elif step.delete is not None:
            await self._admin.delete(step.delete.kind, step.delete.namespace, step.delete.name)
        elif step.delete_pods is not None:
            for pod in self._pods(step.delete_pods.namespace, step.delete_pods.labels):
                await self._admin.delete("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"])
        elif step.restart_containers is not None:
            self.kubelet.restart_containers(step.restart_containers.namespace, step.restart_containers.labels)
        elif step.external is not None:
            self.kubelet.set_reachable(step.external.address, step.external.up)
        elif step.model is not None:
            self._change_model(plan.name, step.model.name, step.model.set)
        else:
            await self._disturb_node(step)

    async def play(self, scenario: Scenario | str, *, within: float = 60.0) -> Scenario:
        """Load, run every step at its time, and wait until the cluster shows the symptoms.

        `within` is in seconds of wall clock. Raises TimeoutError when the symptoms do not appear.
        """
        plan = await self.load(scenario)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for step in sorted(plan.steps, key=lambda one: one.at):
            await asyncio.sleep(max(0.0, began + step.at / self.speed - loop.time()))
            await self.run_step(plan, step)
        await self._until(lambda: self.broken(plan) and not self.healthy(plan), "the symptoms", within)
        return plan

    def broken(self, scenario: Scenario | str | None = None) -> bool:
        """Whether the cluster shows every symptom of a loaded scenario now. A past kill stays a symptom."""
        plan = self._plan(scenario)
        pods, nodes = self._informer("Pod").all(), self._informer("Node").all()
        rollouts = self._informer("Deployment").all()
        return all(shows(symptom, pods, nodes, rollouts) for symptom in plan.symptoms)

    def healthy(self, scenario: Scenario | str | None = None) -> bool:
        """Whether every workload in the scenario's namespaces is rolled out and ready now."""
        spaces = self._plan(scenario).namespaces
        return all(
            settled(one)
            for kind in ("Deployment", "StatefulSet")
            for one in self._informer(kind).all()
            if one["metadata"]["namespace"] in spaces
        )

    async def settled(self, predicate: Callable[[], bool], timeout: float = 30.0) -> None:  # noqa: ASYNC109
        """Wait until `predicate` holds; it is asked after every change. Raises TimeoutError after `timeout` s."""
        await self._until(predicate, "the cluster to settle", timeout)

    def alert(self, scenario: Scenario | str | None = None) -> JSON:
        """The Alertmanager payload for a loaded scenario as of now."""
        plan = self._plan(scenario)

        def find(namespace: str, labels: dict[str, str]) -> str:
            return worst_pod(self._pods(namespace, labels))

        return webhook(plan.alerts, self.name, datetime.now(UTC), find)

    def _plan(self, scenario: Scenario | str | None) -> Scenario:
        """A loaded scenario; None means the one loaded last."""
        if isinstance(scenario, Scenario):
            return scenario
        name = scenario or next(reversed(self._loaded), "")
        if name not in self._loaded:
            raise InvalidInput("scenario", f"{name!r} is not in this cluster; load or play it first")
        return self._loaded[name]

    def _pods(self, namespace: str, labels: dict[str, str]) -> list[JSON]:
        return [
            pod
            for pod in self._informer("Pod").all()
            if pod["metadata"]["namespace"] == namespace
            and labels_match(labels, pod["metadata"].get("labels"))
        ]

    def _informer(self, kind: str) -> Informer:
        return self.controllers.context.informers[kind]

    def _change_model(self, scenario: str, name: str, values: dict[str, Any]) -> None:
        models = self._models[scenario]
        if name not in {model.name for model in models}:
            raise InvalidInput("model", f"there is no model {name!r}")
        self._models[scenario] = tuple(
            WorkloadModel.model_validate({**model.model_dump(), **values}) if model.name == name else model
            for model in models
        )
        self._declare()

    def _declare(self) -> None:
        """Tell the kubelet the programs and registries of all scenarios in the cluster."""
        plans = self._loaded.values()
        images = Images(
            missing=tuple(one for plan in plans for one in plan.images.missing),
            denied=tuple(one for plan in plans for one in plan.images.denied),
        )
        self.kubelet.declare((model for models in self._models.values() for model in models), images)

    async def _disturb_node(self, step: Step) -> None:
        if step.break_node is not None:
            self.kubelet.break_node(step.break_node)
        elif step.heal_node is not None:
            self.kubelet.heal_node(step.heal_node)
        elif step.pressure is not None:
            await self.kubelet.set_pressure(step.pressure.node, step.pressure.kind, step.pressure.on)

    async def _apply(self, obj: JSON) -> None:
        meta = obj["metadata"]
        try:
            await self._admin.create(obj["kind"], meta.get("namespace", ""), obj)
        except Conflict:
            live = await self._admin.get(obj["kind"], meta.get("namespace", ""), meta["name"])
            version = {"resourceVersion": live["metadata"]["resourceVersion"]}
            body = {**obj, "metadata": {**meta, **version}}
            await self._admin.replace(obj["kind"], meta.get("namespace", ""), meta["name"], body)

    async def _seen(self, made: Iterable[JSON]) -> None:
        watched = [obj for obj in made if obj["kind"] in ("Namespace", "ConfigMap", "Secret")]
        await self._until(
            lambda: all(self._informer(obj["kind"]).get(key_of(obj)) for obj in watched), "configuration"
        )

    async def _ready(self, pods: list[JSON]) -> None:
        await self._until(
            lambda: all(is_ready(self._informer("Pod").get(key_of(pod)) or {}) for pod in pods), "pods"
        )

    async def _until(self, holds: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"waited {seconds:.0f} s in vain for {what}") from None


def _first(objects: list[JSON]) -> list[JSON]:
    return sorted(
        (obj for obj in objects if obj["kind"] in _FIRST), key=lambda obj: _FIRST.index(obj["kind"])
    )
