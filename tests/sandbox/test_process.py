"""The simulated cluster as a process of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cortexops.adapters.kubernetes import KubernetesCluster


async def test_it_runs_as_a_process_breaks_and_stops_on_a_signal(tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox.cluster",
        "--kubeconfig-out",
        str(config),
        "--scenario",
        "image-typo-rollout",
        "--speed",
        "20",
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        ready = (await process.stdout.readline()).decode()
        assert ready.startswith("ready https://127.0.0.1:")
        assert (await process.stdout.readline()).decode() == "broken image-typo-rollout\n"
        assert config.stat().st_mode & 0o077 == 0
        async with await KubernetesCluster.connect("sandbox", str(config)) as cluster:
            assert (await cluster.get("Deployment", "staging", "storefront"))["spec"]["replicas"] == 3
        process.terminate()
        assert await process.wait() == 0


async def test_an_unknown_scenario_is_a_usage_error(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sandbox.cluster",
        "--kubeconfig-out",
        str(tmp_path / "kubeconfig"),
        "--scenario",
        "nothing",
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"there is no 'nothing'" in said
