"""The simulated cluster and the real control plane, each with the writing identity that users would grant."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.adapters.postgres import PostgresStore
from cortexops.ports.cluster import PatchType
from sandbox.cluster.authz import Identity
from sandbox.cluster.simulation import SimulatedCluster
from tests.remediation.support import Stage, eventually, grant
from tests.support.controlplane import ControlPlane, control_plane, missing_parts
from tests.support.postgres import migrated_database, migrated_template, opened, store

__all__ = ["control_plane", "migrated_database", "migrated_template", "store"]

_REAL_MISSING = missing_parts()
_USER = "cortexops-writer"


async def _space(admin: KubernetesCluster) -> str:
    name = f"t-{secrets.token_hex(4)}"
    await admin.create("Namespace", "", {"metadata": {"name": name}})
    return name


@pytest.fixture
async def simulated(store: PostgresStore, tmp_path: Path) -> AsyncIterator[Stage]:
    """On the simulated cluster, which can be made to misbehave."""
    async with SimulatedCluster(nodes=1, speed=50) as cluster:
        cluster.server.authorizer.add(Identity(_USER))
        await grant(cluster.kubeconfig(tmp_path / "admin"), _USER, cluster.server.authority)
        admin, writer = await cluster.cluster("admin"), await cluster.cluster(_USER)
        yield Stage(
            admin, writer, store, (await opened(store)).id, await _space(admin), cluster.server.faults
        )


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
        async with SimulatedCluster(nodes=1, speed=50) as cluster:
            cluster.server.authorizer.add(Identity(_USER))
            await grant(cluster.kubeconfig(tmp_path / "admin"), _USER, cluster.server.authority)
            admin, writer = await cluster.cluster("admin"), await cluster.cluster(_USER)
            yield Stage(
                admin, writer, store, (await opened(store)).id, await _space(admin), cluster.server.faults
            )
        return
    plane: ControlPlane = request.getfixturevalue("control_plane")
    await grant(plane.kubeconfig("admin"), "remediator")
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(
            await KubernetesCluster.connect("real", plane.kubeconfig("admin"))
        )
        writer = await stack.enter_async_context(
            await KubernetesCluster.connect("real", plane.kubeconfig("remediator"))
        )

        async def granted() -> bool:
            return await writer.may("patch", "Deployment", "default")

        await eventually(granted)
        yield Stage(admin, writer, store, (await opened(store)).id, await _space(admin), None)


@pytest.fixture
async def node(stage: Stage) -> AsyncIterator[str]:
    """A node of the test's own, without a kubelet."""
    name = f"n-{secrets.token_hex(4)}"
    await stage.admin.create("Node", "", {"metadata": {"name": name}, "spec": {}})
    yield name
    await stage.admin.patch("Node", "", name, {"metadata": {"finalizers": None}}, patch_type=PatchType.MERGE)
    await stage.admin.delete("Node", "", name)
