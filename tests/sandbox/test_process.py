"""The simulated cluster as a process of its own, and its remote control."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.errors import Conflict, InvalidInput, NotFound, TemporaryError
from cortexops.domain.resource import JSON
from sandbox.cluster.remote import SandboxControl

_ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def running(folder: Path, *options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, JSON]]:
    """The process and its ready line; it is asked to stop at the end and must do so well."""
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "sandbox.cluster",
            "--kubeconfig-dir",
            str(folder),
            "--speed",
            "20",
            *options,
        ),
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
        assert line.startswith("ready {")
        yield process, json.loads(line.removeprefix("ready "))
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_it_runs_as_a_process_breaks_and_stops_on_a_signal(tmp_path: Path) -> None:
    async with running(tmp_path, "--scenario", "image-typo-rollout") as (process, ready):
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"broken image-typo-rollout\n"
        assert {path.name for path in tmp_path.iterdir()} == {
            "admin.kubeconfig",
            "investigator.kubeconfig",
            "remediator.kubeconfig",
            "control.token",
        }
        assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())
        config = ready["kubeconfigs"]["investigator"]
        async with await KubernetesCluster.connect("sandbox", config) as cluster:
            assert (await cluster.get("Deployment", "staging", "storefront"))["spec"]["replicas"] == 3
            assert not await cluster.may("patch", "Deployment", "staging")


async def test_another_process_plays_scenarios_sets_faults_and_fails_nodes(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, ready):
        token = Path(ready["token_file"]).read_text()
        config = ready["kubeconfigs"]["admin"]
        async with (
            SandboxControl(ready["control"], token) as control,
            await KubernetesCluster.connect("sandbox", config) as cluster,
        ):
            first = await control.play("image-typo-rollout")
            second = await control.play("configmap-changed-hours-ago")
            assert first["alert"]["alerts"][0]["labels"]["namespace"] == "staging"
            assert second["truth"]["category"] == "configmap_changed"
            assert second["broken"]
            assert not second["healthy"]
            assert (await control.scenarios())["loaded"] == [
                "image-typo-rollout",
                "configmap-changed-hours-ago",
            ]
            with pytest.raises(Conflict, match="already there"):
                await control.play("image-typo-rollout")
            with pytest.raises(InvalidInput, match="there is no 'nothing'"):
                await control.play("nothing")
            await control.faults({"path": "/services$", "status": 503})
            with pytest.raises(TemporaryError):
                await cluster.list("Service", "staging")
            await control.clear_faults()
            assert (await cluster.list("Service", "staging")).items
            with pytest.raises(InvalidInput, match="not a regular expression"):
                await control.faults({"path": "("})
            with pytest.raises(NotFound):
                await control.fail_node("node-99")
            await control.fail_node("node-3")
            await _until_ready(cluster, "node-3", "Unknown")
            await control.heal_node("node-3")
            await _until_ready(cluster, "node-3", "True")


async def test_the_remote_control_wants_its_token(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, ready):
        async with httpx.AsyncClient(base_url=ready["control"], trust_env=False) as client:
            assert (await client.get("/sandbox/scenarios")).status_code == 401
            wrong = {"Authorization": "Bearer wrong"}
            assert (await client.delete("/sandbox/faults", headers=wrong)).status_code == 401


async def test_an_unknown_scenario_is_a_usage_error(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "sandbox.cluster",
            "--kubeconfig-dir",
            str(tmp_path),
            "--scenario",
            "nothing",
        ),
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        cwd=_ROOT,
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"there is no 'nothing'" in said


async def _until_ready(cluster: KubernetesCluster, node: str, status: str) -> None:
    async with asyncio.timeout(20):
        while True:
            found = await cluster.get("Node", "", node)
            ready = next(entry for entry in found["status"]["conditions"] if entry["type"] == "Ready")
            if ready["status"] == status:
                return
            await asyncio.sleep(0.1)
