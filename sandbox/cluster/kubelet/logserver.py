"""`GET /containerLogs/{namespace}/{pod}/{container}` over HTTPS, as an API server asks a kubelet for logs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from cortexops.domain.resource import JSON
from sandbox.cluster.errors import ApiError
from sandbox.cluster.kubelet.certificate import server_context
from sandbox.cluster.logs import LogOptions, MemoryLogs

_REQUEST_SECONDS = 10.0
_MOST_HEADERS = 100


class LogServer:
    """Listens on loopback only; one request a connection."""

    def __init__(self, logs: MemoryLogs, find_pod: Callable[[str, str], JSON | None], port: int = 0) -> None:
        self._logs = logs
        self._find_pod = find_pod
        self._wanted = port
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen; `port` then says where."""
        context = await asyncio.to_thread(server_context, "kubelet")
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._wanted, ssl=context)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                line = (await reader.readline()).decode("latin-1").split()
                for _ in range(_MOST_HEADERS):
                    if (await reader.readline()).strip() == b"":
                        break
                status, text = await self._answer(line)
                body = text.encode()
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
                    "Connection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (OSError, TimeoutError, ValueError):
            pass  # the caller went away or sent no HTTP; there is nobody to tell
        finally:
            writer.close()

    async def _answer(self, line: list[str]) -> tuple[str, str]:
        if len(line) < 2 or line[0] != "GET":
            return "405 Method Not Allowed", "only GET\n"
        url = urlsplit(line[1])
        parts = url.path.strip("/").split("/")
        if url.path == "/healthz":
            return "200 OK", "ok"
        if len(parts) != 4 or parts[0] != "containerLogs":
            return "404 Not Found", "404 page not found\n"
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        previous = query.get("previous") == "true"
        _, namespace, pod, container = parts
        found = self._find_pod(namespace, pod)
        if found is None:
            return "404 Not Found", f'pod "{pod}" not found'
        if not previous and not self._logs.holds(found, container, previous=False):
            return "400 Bad Request", f'container "{container}" in pod "{pod}" is waiting to start'
        options = LogOptions(
            container=container,
            previous=previous,
            timestamps=query.get("timestamps") == "true",
            tail_lines=_number(query.get("tailLines")),
            limit_bytes=_number(query.get("limitBytes")),
            since_seconds=_number(query.get("sinceSeconds")),
        )
        try:
            pieces = [piece async for piece in self._logs.read(found, options)]
        except ApiError as error:
            return f"{error.code} Refused", str(error)
        return "200 OK", b"".join(pieces).decode()


def _number(text: str | None) -> int | None:
    return int(text) if text else None
