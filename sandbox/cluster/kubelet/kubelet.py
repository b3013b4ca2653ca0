"""The kubelet: registers nodes, runs the pods bound to them, reports as a real one does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

from cortexops.domain.errors import Conflict, CortexError, NotFound
from cortexops.domain.resource import JSON
from cortexops.ports.cluster import PatchType, WritableCluster
from sandbox.cluster.controllers.clock import Clock, parse_stamp
from sandbox.cluster.controllers.events import EventRecorder, Occurrence, reference
from sandbox.cluster.controllers.informer import Informers
from sandbox.cluster.controllers.objects import key_of, split_key
from sandbox.cluster.controllers.workqueue import WorkQueue
from sandbox.cluster.kubelet.container import Host, Note, Stage
from sandbox.cluster.kubelet.environment import Environment, environment_of, missing_volume
from sandbox.cluster.kubelet.images import Images
from sandbox.cluster.kubelet.logserver import LogServer
from sandbox.cluster.kubelet.models import WorkloadModel, model_for
from sandbox.cluster.kubelet.network import reach
from sandbox.cluster.kubelet.nodes import lease_object, node_object, node_status
from sandbox.cluster.kubelet.pod import PodRun, pod_run
from sandbox.cluster.logs import MemoryLogs

_log = logging.getLogger(__name__)
_TICK = 0.2  # seconds of wall clock between two looks at the containers
_HEARTBEAT = 1.5
_WRITERS = 4
_OLD = timedelta(minutes=1)  # a pod first seen this long after its creation has been running all along


class Kubelet:
    """`nodes` nodes of one size in one process. Works with any cluster that can be written to.

    `informers` shares caches with control loops in the same process. `serve_logs` opens the HTTPS
    endpoint that a real API server asks for logs; a simulated one reads `logs` directly.
    """

    def __init__(
        self,
        cluster: WritableCluster,
        *,
        speed: float = 10.0,
        nodes: int = 3,
        cpu: str = "8",
        memory: str = "16Gi",
        informers: Informers | None = None,
        events: EventRecorder | None = None,
        serve_logs: bool = False,
        logs: MemoryLogs | None = None,
    ) -> None:
        self.nodes = [f"node-{number}" for number in range(1, nodes + 1)]
        self.logs = logs or MemoryLogs()
        self._cluster = cluster
        self._clock = Clock(speed)
        self._cpu, self._memory, self._most_pods = cpu, memory, 110
        self._own_informers = informers is None
        self._informers = informers or Informers(cluster)
        self._own_events = events is None
        self._events = events or EventRecorder(cluster, self._clock)
        self._server = LogServer(self.logs, self._log_owner) if serve_logs else None
        self._models: tuple[WorkloadModel, ...] = ()
        self._images = Images()
        self._down: frozenset[str] = frozenset()
        self._broken: set[str] = set()
        self._pressure: dict[str, frozenset[str]] = {}
        self._runs: dict[str, PodRun] = {}
        self._addresses = 0
        self._dirty = WorkQueue()
        self._tasks: list[asyncio.Task[None]] = []
        for kind in ("Pod", "ConfigMap", "Secret", "Service", "Endpoints", "Namespace", "Node"):
            self._informers[kind]

    async def start(self) -> None:
        """Register the nodes and begin to run pods."""
        if self._server is not None:
            await self._server.start()
        if self._own_informers:
            await self._informers.start()
        if self._own_events:
            await self._events.start()
        for name in self.nodes:
            await self._register(name)
        self._informers["Pod"].on_change(self._pod_changed)
        self._tasks = [
            asyncio.create_task(self._tick(), name="kubelet-tick"),
            asyncio.create_task(self._heartbeats(), name="kubelet-heartbeats"),
            *(asyncio.create_task(self._write(), name=f"kubelet-status-{n}") for n in range(_WRITERS)),
        ]

    async def stop(self) -> None:
        """Stop everything this object started. Raises ExceptionGroup when a part had broken down."""
        self._dirty.close()
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._own_events:
            await self._events.stop()
        if self._own_informers:
            await self._informers.stop()
        if self._server is not None:
            await self._server.stop()
        broken = [e for e in ended if isinstance(e, Exception)]
        if broken:
            raise ExceptionGroup("the kubelet broke down", broken)

    async def add_node(self, name: str, taints: Iterable[JSON] = ()) -> None:
        """Register one more node; one that is already there stays as it is."""
        if name not in self.nodes:
            self.nodes.append(name)
            await self._register(name, taints)

    def declare(self, models: Iterable[WorkloadModel], images: Images) -> None:
        """How programs behave and which images exist from now on; running containers obey at once."""
        self._models, self._images = tuple(models), images
        for run in self._runs.values():
            for one in (*run.inits, *run.containers):
                one.model = self._find_model(run.pod, one.spec, one.is_init)

    def set_reachable(self, address: str, up: bool) -> None:
        """Make an address outside the cluster (`host` or `host:port`) reachable or not."""
        self._down = self._down - {address} if up else self._down | {address}

    def break_node(self, name: str) -> None:
        """The node's kubelet falls silent: no heartbeat, no status, no starts, no stops."""
        self._broken.add(name)

    def heal_node(self, name: str) -> None:
        """The node comes back."""
        self._broken.discard(name)

    async def set_pressure(self, node: str, kind: str, on: bool) -> None:
        """Raise or clear MemoryPressure, DiskPressure or PIDPressure on a node."""
        have = self._pressure.get(node, frozenset())
        self._pressure[node] = have | {kind} if on else have - {kind}
        word = {"MemoryPressure": "InsufficientMemory", "PIDPressure": "InsufficientPID"}.get(kind, kind)
        if on:
            reason = f"NodeHas{word}"
            self._node_event(node, reason, f"Node {node} status is now: {reason}")
        await self._beat(node)

    def restart_containers(self, namespace: str, labels: dict[str, str], code: int = 143) -> int:
        """End the running containers of matching pods, as after a runtime restart; answers how many."""
        count = 0
        for key, run in self._runs.items():
            meta = run.pod["metadata"]
            if meta["namespace"] != namespace or not labels.items() <= (meta.get("labels") or {}).items():
                continue
            for one in run.containers:
                if one.stage is Stage.RUNNING:
                    one.restart(code, "Error", self._host(run))
                    count += 1
            self._dirty.add(key)
        return count

    def usage(self) -> dict[tuple[str, str, str], int]:
        """Bytes in use by every running container: namespace, pod, container."""
        return {
            (*split_key(key), one.name): one.program.memory
            for key, run in self._runs.items()
            for one in run.containers
            if one.stage is Stage.RUNNING
        }

    async def _register(self, name: str, taints: Iterable[JSON] = ()) -> None:
        with suppress(Conflict):
            body = node_object(name, self._cpu, self._memory, self._most_pods)
            body["spec"] = {"taints": list(taints)} if taints else {}
            await self._cluster.create("Node", "", body)
        await self._beat(name)
        self._node_event(name, "Starting", "Starting kubelet.")
        self._node_event(name, "NodeReady", f"Node {name} status is now: NodeReady")

    def _find_model(self, pod: JSON, container: JSON, ends: bool) -> WorkloadModel:
        labels = pod["metadata"].get("labels") or {}
        return model_for(self._models, container["image"], labels, container["name"], ends=ends)

    def _pod_changed(self, old: JSON | None, new: JSON | None) -> None:
        pod = new if new is not None else old
        if pod is None or pod["spec"].get("nodeName") not in self.nodes:
            return
        key = key_of(pod)
        run = self._runs.get(key)
        if new is None or (run is not None and run.pod["metadata"]["uid"] != pod["metadata"]["uid"]):
            self._runs.pop(key, None)
            if run is not None:
                self.logs.forget(run.pod["metadata"]["namespace"], run.pod["metadata"]["uid"])
            if new is None:
                return
            run = None
        if run is None:
            if (new.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                return
            run = self._begin(new)
        run.pod = new

    def _begin(self, pod: JSON) -> PodRun:
        self._addresses += 1
        node = self.nodes.index(pod["spec"]["nodeName"]) + 1
        address = f"10.244.{node}.{self._addresses % 250 + 2}"
        now = self._clock.now()
        run = pod_run(pod, address, self._host_address(node), self._find_model, now)
        created = parse_stamp(pod["metadata"]["creationTimestamp"])
        if now - created > _OLD and not (pod.get("status") or {}).get("containerStatuses"):
            run.began = created
            since = created + timedelta(seconds=4)
            for one in run.containers:
                one.resume(since, self._host(run))
            run.status(since)  # the conditions turned true back then
        self._runs[key_of(pod)] = run
        self._dirty.add(key_of(pod))
        return run

    def _host(self, run: PodRun) -> Host:
        meta = run.pod["metadata"]
        namespace, name, uid = meta["namespace"], meta["name"], meta["uid"]
        now = self._clock.now()
        about = reference(run.pod, "Pod", "v1")
        node = run.pod["spec"]["nodeName"]

        def lookup(kind: str, wanted: str) -> JSON | None:
            return self._informers[kind].get(f"{namespace}/{wanted}")

        def note(what: Note) -> None:
            regarding = {**about, "fieldPath": what.field_path} if what.field_path else about
            self._events.record(Occurrence(regarding, what.type, what.reason, what.message, "kubelet", node))

        def begin(container: str) -> None:
            if self.logs.holds(run.pod, container, previous=False):
                self.logs.rotate(namespace, uid, container)

        def environment(container: JSON) -> Environment:
            return environment_of(run.pod, container, lookup)

        return Host(
            now=now,
            pod=f"{name}_{namespace}({meta['uid']})",
            address=run.address,
            refusal=self._images.refusal,
            environment=environment,
            reach=lambda address: reach(address, namespace, self._find, self._down),
            note=note,
            begin=begin,
            write=lambda container, text: self.logs.append(
                namespace,
                uid,
                container,
                text.replace("{time}", now.isoformat(timespec="milliseconds")),
                at=now,
            ),
        )

    def _log_owner(self, namespace: str, pod: str) -> JSON | None:
        run = self._runs.get(f"{namespace}/{pod}")
        return None if run is None else run.pod

    def _find(self, kind: str, key: str) -> JSON | None:
        return self._informers[kind].get(key)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(_TICK)
            seconds = self._clock.nominal(loop.time() - before)
            before = loop.time()
            for key, run in list(self._runs.items()):
                if run.pod["spec"]["nodeName"] not in self._broken:
                    self._advance(key, run, seconds)

    def _advance(self, key: str, run: PodRun, seconds: float) -> None:
        host = self._host(run)
        if run.pod["metadata"].get("deletionTimestamp"):
            run.stop(host)

        def volumes() -> str:
            namespace = run.pod["metadata"]["namespace"]
            return missing_volume(run.pod, lambda kind, name: self._find(kind, f"{namespace}/{name}"))

        if run.advance(seconds, host, volumes) or run.stopped:
            self._dirty.add(key)

    async def _write(self) -> None:
        while True:
            key = await self._dirty.get()
            try:
                await self._report(key)
            except (NotFound, Conflict):
                pass  # gone or replaced; the watch will tell
            except CortexError as error:
                _log.debug("status of %s not written: %s", key, error)
                self._dirty.add_failed(key)
            else:
                self._dirty.forget(key)
            finally:
                self._dirty.done(key)

    async def _report(self, key: str) -> None:
        run = self._runs.get(key)
        if run is None or run.pod["spec"]["nodeName"] in self._broken:
            return
        namespace, name = split_key(key)
        if run.stopped:
            await self._cluster.delete(
                "Pod", namespace, name, uid=run.pod["metadata"]["uid"], grace_seconds=0
            )
            return
        status = run.status(self._clock.now())
        self._informers["Pod"].ingest(
            await self._cluster.patch(
                "Pod",
                namespace,
                name,
                {"metadata": {"uid": run.pod["metadata"]["uid"]}, "status": status},
                patch_type=PatchType.MERGE,
                subresource="status",
            )
        )

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            for name in self.nodes:
                try:
                    if name not in self._broken:
                        await self._renew(name)
                except CortexError as error:
                    _log.debug("heartbeat of %s not written: %s", name, error)

    async def _renew(self, name: str) -> None:
        """Renew the lease; write the node's status only when somebody thinks the node is not as it is."""
        lease = lease_object(name, self._clock.now())
        namespace = lease["metadata"]["namespace"]
        try:
            await self._cluster.patch(
                "Lease", namespace, name, {"spec": lease["spec"]}, patch_type=PatchType.MERGE
            )
        except NotFound:
            await self._cluster.create("Lease", namespace, lease)
        node = self._informers["Node"].get(f"/{name}") or {}
        ready = [
            c["status"] for c in (node.get("status") or {}).get("conditions") or () if c["type"] == "Ready"
        ]
        if ready != ["True"]:
            await self._beat(name)
            self._node_event(name, "NodeReady", f"Node {name} status is now: NodeReady")
            for key, run in self._runs.items():
                if run.pod["spec"]["nodeName"] == name:
                    self._dirty.add(key)

    async def _beat(self, name: str) -> None:
        node = await self._cluster.get("Node", "", name)
        status = node_status(
            cpu=self._cpu,
            memory=self._memory,
            pods=self._most_pods,
            address="127.0.0.1" if self._server else self._host_address(self.nodes.index(name) + 1),
            port=self._server.port if self._server else 10250,
            pressure=self._pressure.get(name, frozenset()),
            now=self._clock.now(),
            old=node.get("status") or {},
        )
        await self._cluster.patch(
            "Node", "", name, {"status": status}, patch_type=PatchType.MERGE, subresource="status"
        )

    @staticmethod
    def _host_address(node: int) -> str:
        return f"10.0.0.{10 + node}"

    def _node_event(self, name: str, reason: str, message: str) -> None:
        about = {"kind": "Node", "apiVersion": "v1", "name": name, "uid": name}
        self._events.record(Occurrence(about, "Normal", reason, message, "kubelet", name))
