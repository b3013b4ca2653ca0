"""Loopback ports that stay the same from one start to the next."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Mapping
from pathlib import Path

from cortexops.domain.errors import Conflict, InvalidInput

LOOPBACK = "127.0.0.1"
NAMES = ("temporal", "temporal_ui", "temporal_http", "temporal_metrics", "nats", "nats_monitor", "postgres")

# Below the range from which kernels take the source ports of outgoing connections (32768 on Linux), so that a
# port which is free while an engine restarts is not taken by some client in between.
_RANGE = (20_000, 32_000)
_TRIES = 50


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port(avoid: frozenset[int] = frozenset()) -> int:
    """A loopback port that nobody listens on, none of `avoid`."""
    source = random.SystemRandom()
    for _ in range(_TRIES):
        port = source.randint(*_RANGE)
        if port not in avoid and is_free(port):
            return port
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def free_ports(count: int) -> tuple[int, ...]:
    """As many different loopback ports that nobody listens on."""
    ports: tuple[int, ...] = ()
    while len(ports) < count:
        ports = (*ports, free_port(frozenset(ports)))
    return ports


class PortBook:
    """The ports of one data folder: those asked for, else those of the last start, else free ones."""

    def __init__(self, path: Path, asked: Mapping[str, int] | None = None) -> None:
        """`asked` maps names of `NAMES` to ports. Raises InvalidInput for any other name or number."""
        self._path = path
        self._asked = dict(asked or {})
        self._ports: dict[str, int] = {}
        for name, port in self._asked.items():
            if name not in NAMES:
                raise InvalidInput("ports", f"no port is called {name!r}; the names are {', '.join(NAMES)}")
            if not 0 < port < 65_536:
                raise InvalidInput("ports", f"{name}={port} is not a port number")
        if len(set(self._asked.values())) != len(self._asked):
            raise InvalidInput("ports", "one port is given to two engines")

    def __getitem__(self, name: str) -> int:
        return self._ports[name]

    def settle(self) -> bool:
        """Decide every port and remember it; answers whether any differs from the time before.

        Raises Conflict when a port that was asked for is in use.
        """
        remembered = self._read()
        settled: dict[str, int] = {}
        for name, port in self._asked.items():
            if not is_free(port):
                raise Conflict(f"port {port} on {LOOPBACK}, asked for {name}, is in use by another process")
            settled[name] = port
        for name in NAMES:
            if name in settled:
                continue
            taken = frozenset(settled.values()) | frozenset(self._asked.values())
            port = remembered.get(name, 0)
            settled[name] = port if port and port not in taken and is_free(port) else free_port(taken)
        changed = settled != self._ports
        self._ports = settled
        self._path.write_text(json.dumps(settled, indent=1) + "\n", encoding="utf-8")
        return changed

    def _read(self) -> dict[str, int]:
        try:
            stored = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            return {}  # half-written by a crash; the ports are only a convenience
        if not isinstance(stored, dict):
            return {}
        return {k: v for k, v in stored.items() if isinstance(v, int) and 0 < v < 65_536}
