"""The two API servers, each test in a namespace of its own."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from cortexops.adapters.kubernetes import KubernetesCluster
from sandbox.cluster.server import SimulatedApiServer
from tests.support.controlplane import ControlPlane, missing_parts

JSON = dict[str, Any]
_REAL_MISSING = missing_parts()


class Target:
    """One API server: a client of the product for an identity, and plain requests."""

    def __init__(
        self, name: str, kubeconfig: Callable[[str], str], server: SimulatedApiServer | None
    ) -> None:
        self.name = name
        self.kubeconfig = kubeconfig
        self.server = server
        self._clients: list[KubernetesCluster] = []

    @property
    def real(self) -> bool:
        return self.server is None

    async def client(self, identity: str = "admin") -> KubernetesCluster:
        cluster = await KubernetesCluster.connect(self.name, self.kubeconfig(identity))
        self._clients.append(cluster)
        return cluster

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        identity: str = "admin",
        token: str | None = None,
    ) -> tuple[int, JSON]:
        """One request as it is, and the answer as it is. An empty `token` sends none."""
        document = yaml.safe_load(Path(self.kubeconfig(identity)).read_text())
        access = document["clusters"][0]["cluster"]
        context = ssl.create_default_context()
        if hasattr(ssl, "VERIFY_X509_STRICT"):
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if "certificate-authority" in access:
            context.load_verify_locations(access["certificate-authority"])
        else:
            assert self.server is not None
            context.load_verify_locations(cadata=self.server.authority)
        used = document["users"][0]["user"]["token"] if token is None else token
        # a real server pretty-prints for curl and browsers, for nobody else
        headers = {"Content-Type": content_type, "User-Agent": "conformance"}
        if used:
            headers["Authorization"] = f"Bearer {used}"
        async with httpx.AsyncClient(verify=context, trust_env=False, base_url=access["server"]) as client:
            answer = await client.request(method, path, json=body, headers=headers)
        return answer.status_code, answer.json()

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


@pytest.fixture(
    params=[
        "simulated",
        pytest.param(
            "real",
            marks=[pytest.mark.realcluster, pytest.mark.skipif(bool(_REAL_MISSING), reason=_REAL_MISSING)],
        ),
    ]
)
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Target]:
    if request.param == "real":
        plane: ControlPlane = request.getfixturevalue("control_plane")
        real = Target("real", plane.kubeconfig, None)
        yield real
        await real.close()
        return
    async with SimulatedApiServer() as server:
        simulated = Target("simulated", lambda who: server.kubeconfig(tmp_path / f"{who}.yaml", who), server)
        yield simulated
        await simulated.close()


@pytest.fixture
async def cluster(target: Target) -> KubernetesCluster:
    return await target.client()


@pytest.fixture
async def space(cluster: KubernetesCluster) -> str:
    """A namespace of the test's own."""
    name = f"t-{secrets.token_hex(4)}"
    await cluster.create("Namespace", "", {"metadata": {"name": name}})
    return name


async def eventually(check: Callable[[], Awaitable[Any]], *, seconds: float = 20.0) -> Any:
    """Ask again until the answer is true; that answer. Controllers of a real cluster take their time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        answer = await check()
        if answer:
            return answer
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"never became true within {seconds} s; last answer: {answer!r}")
        await asyncio.sleep(0.05)


def deployment(name: str = "api", **spec: Any) -> JSON:
    """A small Deployment; it asks for no replicas, so that no controller acts on it."""
    labels = {"app": name}
    container = {
        "name": "main",
        "image": "registry.local/api:1.0",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "ports": [{"containerPort": 8080}],
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template} | spec,
    }


def pod(name: str = "one", *, labels: JSON | None = None, **container: Any) -> JSON:
    return {
        "metadata": {"name": name, "labels": labels or {"app": name}},
        "spec": {"containers": [{"name": "main", "image": "registry.local/api:1.0"} | container]},
    }


def config(name: str = "settings", **data: str) -> JSON:
    return {"metadata": {"name": name}, "data": data}
