"""All control loops of the simulated cluster over one client."""

from __future__ import annotations

from contextlib import suppress

from cortexops.domain.errors import Conflict
from cortexops.ports.cluster import WritableCluster
from sandbox.cluster.controllers.base import Context, Controller
from sandbox.cluster.controllers.clock import Clock
from sandbox.cluster.controllers.daemonset import DaemonSetController
from sandbox.cluster.controllers.deployment import DeploymentController
from sandbox.cluster.controllers.endpoints import EndpointsController
from sandbox.cluster.controllers.job import JobController
from sandbox.cluster.controllers.nodelifecycle import LEASE_NAMESPACE, NodeLifecycle
from sandbox.cluster.controllers.replicaset import ReplicaSetController
from sandbox.cluster.controllers.scheduler import Scheduler
from sandbox.cluster.controllers.statefulset import StatefulSetController

NAMESPACES = ("default", "kube-system", "kube-public", LEASE_NAMESPACE)
_LEAST_GRACE = 4.0  # seconds of wall clock: two missed heartbeats, whatever the speed


class ControllerManager:
    """Starts, pauses and stops the loops. `eviction_seconds` is nominal (the real default is 300)."""

    def __init__(
        self, cluster: WritableCluster, *, speed: float = 10.0, eviction_seconds: float = 30.0
    ) -> None:
        self._cluster = cluster
        clock = Clock(speed)
        self.context = Context(cluster, clock)
        self.controllers: list[Controller] = [
            DeploymentController(self.context),
            ReplicaSetController(self.context),
            StatefulSetController(self.context),
            DaemonSetController(self.context),
            JobController(self.context),
            EndpointsController(self.context),
            Scheduler(self.context),
            NodeLifecycle(
                self.context, grace=max(_LEAST_GRACE, clock.real(40)), eviction=clock.real(eviction_seconds)
            ),
        ]

    async def start(self) -> None:
        """Make the standing namespaces, fill the caches, start the loops."""
        for name in NAMESPACES:
            with suppress(Conflict):
                await self._cluster.create(
                    "Namespace", "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                )
        await self.context.informers.start()
        await self.context.events.start()
        for controller in self.controllers:
            await controller.start()

    def pause(self) -> None:
        """Let the loops finish what they are at and take up nothing new."""
        self.context.running.clear()

    def resume(self) -> None:
        """Go on."""
        self.context.running.set()

    async def stop(self) -> None:
        """Stop the loops. Raises ExceptionGroup when one had broken down."""
        broken: list[BaseException] = []
        for controller in self.controllers:
            broken.extend(await controller.stop())
        await self.context.events.stop()
        await self.context.informers.stop()
        if broken:
            raise BaseExceptionGroup("control loops broke down", broken)
