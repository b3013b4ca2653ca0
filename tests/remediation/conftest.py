"""The simulated cluster and the real control plane, each with the writing identity that users would grant."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.adapters.postgres import PostgresStore
from sandbox.cluster.authz import Identity
from sandbox.cluster.simulation import SimulatedCluster
from tests.remediation.support import Stage, eventually, grant
from tests.support.controlplane import ControlPlane, missing_parts
from tests.support.postgres import opened

_REAL_MISSING = missing_parts()
_NEVER = 1e6  # seconds; a busy machine must not make a kubelet late and its pods go


async def _space(admin: KubernetesCluster) -> str:
    name = f"t-{secrets.token_hex(4)}"
    await admin.create("Namespace", "", {"metadata": {"name": name}})
    return name


@asynccontextmanager
async def _on_simulation(store: PostgresStore, folder: Path) -> AsyncIterator[Stage]:
    async with SimulatedCluster(nodes=1, speed=50, eviction_seconds=_NEVER) as cluster:
        for role in ("remediator", "investigator"):
            cluster.server.authorizer.add(Identity(f"cortexops-{role}"))
            admins = cluster.kubeconfig(folder / "admin")
            await grant(admins, f"cortexops-{role}", role, cluster.server.authority)
        admin = await cluster.cluster("admin")
        writer = await cluster.cluster("cortexops-remediator")
        reader = await cluster.cluster("cortexops-investigator")
        incident = (await opened(store)).id
        yield Stage(admin, writer, reader, store, incident, await _space(admin), cluster.server.faults)


@asynccontextmanager
async def _on_real(plane: ControlPlane, store: PostgresStore) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:

        async def client(identity: str) -> KubernetesCluster:
            connected = await KubernetesCluster.connect("real", plane.kubeconfig(identity))
            return await stack.enter_async_context(connected)

        admin, writer, reader = [await client(who) for who in ("admin", "remediator", "investigator")]
        for role in ("remediator", "investigator"):
            await grant(plane.kubeconfig("admin"), role, role)

        async def granted() -> bool:
            return await writer.may("patch", "Deployment", "default") and await reader.may(
                "get", "Deployment", "default"
            )

        await eventually(granted)
        yield Stage(admin, writer, reader, store, (await opened(store)).id, await _space(admin), None)


@pytest.fixture
async def simulated(store: PostgresStore, tmp_path: Path) -> AsyncIterator[Stage]:
    """On the simulated cluster, which can be made to misbehave."""
    async with _on_simulation(store, tmp_path) as stage:
        yield stage


@pytest.fixture(
    params=[
        "simulated",
        pytest.param(
            "real",
            marks=[pytest.mark.realcluster, pytest.mark.skipif(bool(_REAL_MISSING), reason=_REAL_MISSING)],
        ),
    ]
)
async def stage(request: pytest.FixtureRequest, store: PostgresStore, tmp_path: Path) -> AsyncIterator[Stage]:
    """On either cluster."""
    if request.param == "simulated":
        async with _on_simulation(store, tmp_path) as stage:
            yield stage
    else:
        async with _on_real(request.getfixturevalue("control_plane"), store) as stage:
            yield stage


@pytest.fixture
async def node(stage: Stage) -> AsyncIterator[str]:
    """The simulation's node, or one of the test's own without a kubelet."""
    known = (await stage.admin.list("Node")).items
    if stage.admin.name != "real":
        yield known[0]["metadata"]["name"]
        return
    name = f"n-{secrets.token_hex(4)}"
    await stage.admin.create("Node", "", {"metadata": {"name": name}, "spec": {}})
    specs = [None]

    async def left_alone() -> bool:
        """The node controller has set its taints: the spec holds still for half a second."""
        specs.append((await stage.admin.get("Node", "", name))["spec"])
        await asyncio.sleep(0.1)
        return len(specs) > 6 and all(spec == specs[-1] for spec in specs[-5:])

    await eventually(left_alone)
    yield name
    await stage.admin.delete("Node", "", name)
