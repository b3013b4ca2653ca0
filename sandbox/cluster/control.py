"""The remote control of a simulated cluster in a process of its own: scenarios, API faults, node failures.

It listens on loopback only, and every request carries the token.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
from pathlib import Path
from typing import Any, Self

from aiohttp import web
from pydantic import Field, TypeAdapter, ValidationError, field_validator

from cortexops.domain.errors import Conflict, CortexError, InvalidInput, NotFound
from cortexops.domain.resource import JSON, Frozen
from sandbox.cluster.faults import Fault
from sandbox.cluster.simulation import SimulatedCluster
from sandbox.scenarios import load_scenario, scenario_names

_HOST = "127.0.0.1"
_MOST_BODY = 64 * 1024


class FaultSpec(Frozen):
    """A fault of the API server, as `sandbox.cluster.faults.Fault`. `path` is a regular expression."""

    path: str
    method: str = ""
    latency: float = Field(default=0.0, ge=0)
    status: int = Field(default=0, ge=0, le=599)
    retry_after: int | None = None
    hang: bool = False
    hang_after_apply: bool = False
    times: int | None = Field(default=None, ge=1)

    @field_validator("path")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        return value


_FAULTS = TypeAdapter(list[FaultSpec])


class ControlServer:
    """`POST /sandbox/scenarios/{name}` plays one and answers when it is broken; `GET` tells how it is.

    `POST` and `DELETE /sandbox/faults` set and clear faults; `POST /sandbox/nodes/{name}/fail` and `…/heal`
    break a node and bring it back.
    """

    def __init__(self, simulated: SimulatedCluster, port: int = 0) -> None:
        self.token = secrets.token_hex(16)
        self._simulated = simulated
        self._port = port
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>`, once started."""
        return f"http://{_HOST}:{self._port}"

    def write_token(self, path: str | Path) -> str:
        """Write the token where only this user can read it; answers the path."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch(mode=0o600)
        target.chmod(0o600)
        target.write_text(self.token, encoding="utf-8")
        return str(target)

    async def start(self) -> None:
        """Listen. Raises `OSError` when the port is taken."""
        app = web.Application(client_max_size=_MOST_BODY, middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/sandbox/scenarios", self._list),
                web.get("/sandbox/scenarios/{name}", self._tell),
                web.post("/sandbox/scenarios/{name}", self._play),
                web.post("/sandbox/faults", self._add_faults),
                web.delete("/sandbox/faults", self._clear_faults),
                web.post("/sandbox/nodes/{name}/{what:fail|heal}", self._node),
            ]
        )
        logger = logging.getLogger(__name__)
        self._runner = web.AppRunner(app, access_log=None, logger=logger, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, _HOST, self._port).start()
        self._port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), self.token.encode()):
            return web.json_response({"error": "a valid token is needed"}, status=401)
        try:
            answer: web.StreamResponse = await handler(request)
        except NotFound as error:
            return web.json_response({"error": str(error)}, status=404)
        except InvalidInput as error:
            return web.json_response({"error": str(error)}, status=400)
        except Conflict as error:
            return web.json_response({"error": str(error)}, status=409)
        except (TimeoutError, CortexError) as error:
            return web.json_response({"error": str(error)}, status=504)
        return answer

    async def _list(self, _request: web.Request) -> web.Response:
        body = {"scenarios": scenario_names(), "loaded": list(self._simulated.loaded)}
        return web.json_response(body)

    async def _play(self, request: web.Request) -> web.Response:
        plan = load_scenario(request.match_info["name"])
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._simulated.play(plan)
        return web.json_response(self._state(plan.name) | {"seconds": round(loop.time() - began, 3)})

    async def _tell(self, request: web.Request) -> web.Response:
        return web.json_response(self._state(request.match_info["name"]))

    def _state(self, name: str) -> JSON:
        alert = self._simulated.alert(name)
        return {
            "scenario": name,
            "broken": self._simulated.broken(name),
            "healthy": self._simulated.healthy(name),
            "alert": alert,
            "truth": load_scenario(name).truth.model_dump(mode="json"),
        }

    async def _add_faults(self, request: web.Request) -> web.Response:
        try:
            body = await request.json()
            specs = _FAULTS.validate_python(body if isinstance(body, list) else [body])
        except (ValueError, ValidationError) as error:
            raise InvalidInput("faults", str(error)) from error
        for spec in specs:
            self._simulated.server.faults.add(Fault(**spec.model_dump()))
        return web.json_response({"added": len(specs)})

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self._simulated.server.faults.clear()
        return web.json_response({})

    async def _node(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self._simulated.kubelet.nodes:
            raise NotFound(f"there is no node {name!r}")
        if request.match_info["what"] == "fail":
            self._simulated.kubelet.break_node(name)
        else:
            self._simulated.kubelet.heal_node(name)
        return web.json_response({"node": name})
