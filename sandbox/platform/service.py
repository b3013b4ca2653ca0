"""One worker process of the product, supervised like an engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

from sandbox.engines.engine import Engine

_READY = "ready "
_GOODBYE = 15.0  # seconds: a correlator settles what it holds and gives its partitions back


class Service(Engine):
    """`python -m workers ROLE…` with the settings file that the platform wrote."""

    def __init__(self, data_dir: Path, name: str, roles: Sequence[str], settings: Path) -> None:
        self.name = name
        super().__init__(data_dir)
        self.roles = tuple(roles)
        self.urls: dict[str, str] = {}
        root = Path(__file__).resolve().parents[2]
        self.process.adopt_environment({"CORTEXOPS_CONFIG": str(settings), "PYTHONPATH": str(root)})
        self._log = self.folders.logs / f"{name}.log"

    async def prepare(self) -> Sequence[str]:
        self.urls = {}
        return [sys.executable, "-m", "workers", *self.roles]

    async def stop(self) -> None:
        await self.process.stop(deadline=_GOODBYE)

    async def healthy(self) -> str | None:
        """Not ready until the process says so; then as its own `/debug/healthz` says."""
        missing = self._not_running()
        if missing is not None:
            return missing
        if not self.urls and not self._announced():
            return "starting"
        url = next(iter(self.urls.values()))
        try:
            async with httpx.AsyncClient(timeout=5) as client:
                answer = await client.get(f"{url}/debug/healthz")
        except httpx.HTTPError as error:
            return f"{url} does not answer ({type(error).__name__})"
        if answer.status_code == httpx.codes.OK:
            return None
        components = answer.json().get("components", {})
        sick = [name for name, state in components.items() if state.get("status", "ok") != "ok"]
        return f"unhealthy: {', '.join(sick) or answer.status_code}"

    def _announced(self) -> bool:
        try:
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return False
        for line in lines:
            if line.startswith(_READY):
                self.urls = json.loads(line.removeprefix(_READY))
                return True
        return False
