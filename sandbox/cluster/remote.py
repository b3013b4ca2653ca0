"""The client of the remote control."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from cortexops.domain.errors import Conflict, InvalidInput, NotFound, TemporaryError
from cortexops.domain.resource import JSON

_PLAY_SECONDS = 90.0  # a scenario is given 60 s to break


class SandboxControl:
    """Controls a simulated cluster in another process. `url` and `token` come from its ready line.

    Use as an async context manager or `close` it. Every method raises `InvalidInput`, `NotFound`, `Conflict`
    (a scenario that is already there), or `TemporaryError` when the process cannot be reached or is too slow.
    """

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=_PLAY_SECONDS,
            trust_env=False,  # it is on loopback, whatever proxy the environment names
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def scenarios(self) -> JSON:
        """`scenarios`: all names, `loaded`: those in the cluster."""
        return await self._ask("GET", "/sandbox/scenarios")

    async def play(self, name: str) -> JSON:
        """Load a scenario and wait until it is broken.

        Answers `scenario`, `alert` (the Alertmanager payload to post), `truth`, `broken`, `healthy`, `seconds`.
        """
        return await self._ask("POST", f"/sandbox/scenarios/{quote(name, safe='')}")

    async def state(self, name: str) -> JSON:
        """How a played scenario is now: as `play` answers, less `seconds`."""
        return await self._ask("GET", f"/sandbox/scenarios/{quote(name, safe='')}")

    async def faults(self, *faults: JSON) -> None:
        """Make API requests go wrong; fields as in `sandbox.cluster.faults.Fault`, `path` matches any client's."""
        await self._ask("POST", "/sandbox/faults", list(faults))

    async def clear_faults(self) -> None:
        """Take all faults out of force."""
        await self._ask("DELETE", "/sandbox/faults")

    async def fail_node(self, name: str) -> None:
        """The node's kubelet falls silent."""
        await self._ask("POST", f"/sandbox/nodes/{quote(name, safe='')}/fail")

    async def heal_node(self, name: str) -> None:
        """The node comes back."""
        await self._ask("POST", f"/sandbox/nodes/{quote(name, safe='')}/heal")

    async def _ask(self, method: str, path: str, body: Any = None) -> JSON:
        try:
            answer = await self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise TemporaryError(f"the sandbox cannot be reached: {type(error).__name__}") from error
        if answer.is_success:
            return dict(answer.json())
        message = _reason(answer)
        if answer.status_code == 404:
            raise NotFound(message)
        if answer.status_code == 409:
            raise Conflict(message)
        if answer.status_code >= 500:
            raise TemporaryError(message)
        raise InvalidInput("sandbox", message)


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"the sandbox answered {answer.status_code}"
