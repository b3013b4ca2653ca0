"""`GET /containerLogs/{namespace}/{pod}/{container}` over HTTPS, as an API server asks a kubelet for logs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

from sandbox.cluster.kubelet.certificate import server_context
from sandbox.cluster.kubelet.logs import LogBook

_REQUEST_SECONDS = 10.0
_MOST_HEADERS = 100


class LogServer:
    """Listens on loopback only; one request a connection."""

    def __init__(self, logs: LogBook, port: int = 0) -> None:
        self._logs = logs
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
                status, text = self._answer(line)
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

    def _answer(self, line: list[str]) -> tuple[str, str]:
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
        if not self._logs.has(namespace, pod, container, previous=previous):
            if previous:
                why = f'previous terminated container "{container}" in pod "{pod}" not found'
            else:
                why = f'container "{container}" in pod "{pod}" is waiting to start: ContainerCreating'
            return "400 Bad Request", why
        since = query.get("sinceSeconds")
        return "200 OK", self._logs.read(
            namespace,
            pod,
            container,
            previous=previous,
            tail_lines=_number(query.get("tailLines")),
            limit_bytes=_number(query.get("limitBytes")),
            timestamps=query.get("timestamps") == "true",
            since=datetime.now(UTC) - timedelta(seconds=int(since)) if since else None,
        )


def _number(text: str | None) -> int | None:
    return int(text) if text else None
