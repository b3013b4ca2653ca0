"""`python -m sandbox.cluster`: the simulated cluster as a process of its own, which drills can kill."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from cortexops.domain.errors import Conflict, InvalidInput
from sandbox.cluster.control import ControlServer
from sandbox.cluster.simulation import SimulatedCluster
from sandbox.scenarios import load_scenario, scenario_names

_IDENTITIES = ("admin", "investigator", "remediator")


def main() -> int:
    """Run until SIGINT or SIGTERM. Exit codes: 0 stopped, 1 the scenario did not break, 2 usage.

    Prints `ready ` and a JSON object with `url`, `control`, `token_file` and `kubeconfigs` once it serves, then
    `broken NAME` when a scenario was asked for.
    """
    parser = argparse.ArgumentParser(prog="python -m sandbox.cluster", description=__doc__)
    free = "on loopback; 0 takes a free one"
    parser.add_argument("--port", type=int, default=0, help=f"port of the API server {free}")
    parser.add_argument("--control-port", type=int, default=0, help=f"port of the remote control {free}")
    parser.add_argument(
        "--kubeconfig-dir", type=Path, required=True, help="where to write the kubeconfigs and control.token"
    )
    parser.add_argument("--scenario", help=f"one of {', '.join(scenario_names())}")
    parser.add_argument("--speed", type=float, default=10.0, help="by how much durations are shortened")
    parser.add_argument("--nodes", type=int, default=3, help="number of nodes")
    parser.add_argument("--data-dir", type=Path, help="keep the objects here")
    parser.add_argument("--name", default="sandbox", help="name of the cluster")
    options = parser.parse_args()
    try:
        if options.scenario:
            load_scenario(options.scenario)
        return asyncio.run(_run(options))
    except (InvalidInput, Conflict) as error:
        sys.stderr.write(f"{error}\n")
        return 2


async def _run(options: argparse.Namespace) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    simulated = SimulatedCluster(options.name, options.port, options.speed, options.nodes, options.data_dir)
    async with simulated, ControlServer(simulated, options.control_port) as control:
        folder: Path = options.kubeconfig_dir
        ready = {
            "url": simulated.url,
            "control": control.url,
            "token_file": control.write_token(folder / "control.token"),
            "kubeconfigs": {
                who: simulated.kubeconfig(folder / f"{who}.kubeconfig", who) for who in _IDENTITIES
            },
        }
        _say(f"ready {json.dumps(ready)}")
        if options.scenario and not await _play(simulated, options.scenario, stopped):
            return 1
        await stopped.wait()
    return 0


async def _play(simulated: SimulatedCluster, scenario: str, stopped: asyncio.Event) -> bool:
    """Play until broken or until asked to stop; False when it did not break."""
    playing = asyncio.create_task(simulated.play(scenario))
    asked = asyncio.create_task(stopped.wait())
    await asyncio.wait((playing, asked), return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not playing.done():
        playing.cancel()
        return True
    try:
        playing.result()
    except TimeoutError as error:
        sys.stderr.write(f"{error}\n")
        return False
    _say(f"broken {scenario}")
    return True


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
