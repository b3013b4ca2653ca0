"""`python -m sandbox.cluster`: the simulated cluster as a process of its own, which drills can kill."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from cortexops.domain.errors import InvalidInput
from sandbox import scenarios
from sandbox.cluster.simulation import SimulatedCluster


def main() -> int:
    """Run until SIGINT or SIGTERM. Exit codes: 0 stopped, 1 the scenario did not break, 2 usage."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.cluster", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=0, help="port of the API server on loopback; 0 takes a free one"
    )
    parser.add_argument("--kubeconfig-out", type=Path, required=True, help="where to write the kubeconfig")
    parser.add_argument("--identity", default="admin", help="whose kubeconfig")
    parser.add_argument("--scenario", help=f"one of {', '.join(scenarios.names())}")
    parser.add_argument("--speed", type=float, default=10.0, help="by how much durations are shortened")
    parser.add_argument("--nodes", type=int, default=3, help="number of nodes")
    parser.add_argument("--data-dir", type=Path, help="keep the objects here")
    parser.add_argument("--name", default="sandbox", help="name of the cluster")
    try:
        return asyncio.run(_run(parser.parse_args()))
    except InvalidInput as error:
        sys.stderr.write(f"{error}\n")
        return 2


async def _run(options: argparse.Namespace) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    simulated = SimulatedCluster(options.name, options.port, options.speed, options.nodes, options.data_dir)
    async with simulated:
        simulated.kubeconfig(options.kubeconfig_out, options.identity)
        sys.stdout.write(f"ready {simulated.url}\n")
        sys.stdout.flush()
        if options.scenario:
            try:
                await simulated.play(options.scenario)
            except TimeoutError as error:
                sys.stderr.write(f"{error}\n")
                return 1
            sys.stdout.write(f"broken {options.scenario}\n")
            sys.stdout.flush()
        await stopped.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
