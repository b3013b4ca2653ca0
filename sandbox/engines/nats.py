"""NATS with JetStream, file storage."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from sandbox.engines.engine import Engine
from sandbox.engines.extra import program
from sandbox.engines.ports import LOOPBACK

_MAX_FILE_STORE = "64GB"  # the streams' own limits bind first
_MAX_MEMORY_STORE = "1GB"


@dataclass(frozen=True)
class NatsEndpoint:
    url: str
    monitor_url: str


class NatsEngine(Engine):
    """A single NATS server.

    JetStream acknowledges once the message is in the file; the operating system writes it to the disk within
    `sync_interval`. A killed server loses nothing, a power cut may lose that much ("always" for none).
    """

    name = "nats"

    def __init__(self, data_dir: Path, *, port: int, monitor_port: int, sync_interval: str = "10s") -> None:
        super().__init__(data_dir)
        self.port = port
        self.monitor_port = monitor_port
        self._sync_interval = sync_interval

    @property
    def endpoint(self) -> NatsEndpoint:
        return NatsEndpoint(
            url=f"nats://{LOOPBACK}:{self.port}", monitor_url=f"http://{LOOPBACK}:{self.monitor_port}"
        )

    async def prepare(self) -> Sequence[str]:
        server = program("nats-server")
        configuration = self.folders.data / "nats.conf"
        quoted = json.dumps(str(self.folders.data / "store"))
        configuration.write_text(
            f"""# Written at every start.
server_name: cortexops
listen: "{LOOPBACK}:{self.port}"
http: "{LOOPBACK}:{self.monitor_port}"
max_payload: 8MB
jetstream {{
  store_dir: {quoted}
  max_file_store: {_MAX_FILE_STORE}
  max_memory_store: {_MAX_MEMORY_STORE}
  sync_interval: {json.dumps(self._sync_interval)}
}}
""",
            encoding="utf-8",
        )
        return [str(server), "-c", str(configuration)]

    async def healthy(self) -> str | None:
        if (reason := self._not_running()) is not None:
            return reason
        # Plain http on loopback: an empty TLS context saves loading the certificate store for every look.
        transport = httpx.AsyncHTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=2.0) as client:
            try:
                answer = await client.get(f"{self.endpoint.monitor_url}/healthz?js-enabled-only=false")
            except httpx.HTTPError as error:
                return f"the monitoring port does not answer ({type(error).__name__})"
        return None if answer.status_code == httpx.codes.OK else f"health is {answer.status_code}"
