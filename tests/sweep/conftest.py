"""A real incident workflow on a real Temporal server, real books, and a simulated cluster with a real API."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortexops.adapters.postgres import PostgresStore
from sandbox.cluster.authz import Identity
from sandbox.cluster.simulation import SimulatedCluster
from tests.remediation.support import Stage, grant
from tests.support.engines import RunningEngines
from tests.support.postgres import opened
from tests.sweep.play import Play, playing


@pytest.fixture
async def stage(store: PostgresStore, tmp_path: Path) -> AsyncIterator[Stage]:
    """The cluster; its own incident (of a run that Temporal never had) is for the tests of single steps."""
    async with SimulatedCluster(nodes=1, speed=50) as cluster:
        cluster.server.authorizer.add(Identity("cortexops-remediator"))
        admins = cluster.kubeconfig(tmp_path / "admin")
        await grant(admins, "cortexops-remediator", "remediator", cluster.server.authority)
        admin = await cluster.cluster("admin")
        writer = await cluster.cluster("cortexops-remediator")
        space = f"shop-{secrets.token_hex(3)}"  # the name of the workflow is made of it
        await admin.create("Namespace", "", {"metadata": {"name": space}})
        incident = (await opened(store)).id
        yield Stage(admin, writer, writer, store, incident, space, cluster.server.faults)


@pytest.fixture
async def play(stage: Stage, engines: RunningEngines, task_queue_prefix: str) -> AsyncIterator[Play]:
    async with playing(stage, engines.temporal_address, task_queue_prefix) as play:
        yield play
