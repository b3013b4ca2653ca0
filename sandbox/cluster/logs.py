"""Where pod logs come from: memory, or the kubelet of the pod's node as in a real cluster."""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import NamedTuple, Protocol
from urllib.parse import urlencode

import aiohttp

from cortexops.domain.resource import JSON
from sandbox.cluster.errors import ApiError, bad_request
from sandbox.cluster.store import Store

_MOST_LINES = 10_000  # per container; older lines are rotated away
_POLL = 0.1  # seconds between looks for new lines when following


class LogOptions(NamedTuple):
    """`PodLogOptions`."""

    container: str = ""
    previous: bool = False
    follow: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since_seconds: int | None = None
    since_time: str = ""


class LogSource(Protocol):
    """Gives the log of one container."""

    def read(self, pod: JSON, options: LogOptions) -> AsyncIterator[bytes]:
        """The log in pieces; ends unless followed. Raises `ApiError`."""
        ...


class _Line(NamedTuple):
    at: datetime
    text: str


class MemoryLogs:
    """Log lines kept in this process: `append` and `rotate` are for whatever plays the container."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str, str, bool], deque[_Line]] = defaultdict(
            lambda: deque(maxlen=_MOST_LINES)
        )

    def append(
        self, namespace: str, pod_uid: str, container: str, text: str, *, at: datetime | None = None
    ) -> None:
        """Add a line to the running container's log."""
        line = _Line(at or datetime.now(UTC), text.rstrip("\n"))
        self._lines[namespace, pod_uid, container, False].append(line)

    def rotate(self, namespace: str, pod_uid: str, container: str) -> None:
        """The container restarted: its log becomes the previous one."""
        current = self._lines.pop((namespace, pod_uid, container, False), deque(maxlen=_MOST_LINES))
        self._lines[namespace, pod_uid, container, True] = current

    def forget(self, namespace: str, pod_uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._lines if key[:2] == (namespace, pod_uid)]:
            del self._lines[key]

    def holds(self, pod: JSON, container: str, *, previous: bool) -> bool:
        """Whether there is such a log here."""
        meta = pod["metadata"]
        return (meta["namespace"], meta["uid"], container, previous) in self._lines

    async def read(self, pod: JSON, options: LogOptions) -> AsyncIterator[bytes]:
        """As `LogSource`."""
        meta = pod["metadata"]
        key = (meta["namespace"], meta["uid"], options.container, options.previous)
        if options.previous and key not in self._lines:
            raise no_previous(pod, options.container)
        since = _since(options)
        lines = [line for line in self._lines.get(key, ()) if since is None or line.at >= since]
        chosen = lines if options.tail_lines is None else lines[max(0, len(lines) - options.tail_lines) :]
        data = b"".join(_render(line, options) for line in chosen)
        yield data if options.limit_bytes is None else data[: options.limit_bytes]
        last = lines[-1] if lines else None
        while options.follow:
            await asyncio.sleep(_POLL)
            fresh: list[_Line] = []
            for line in reversed(self._lines.get(key, ())):
                if line is last:
                    break
                fresh.append(line)
            if fresh:
                last = fresh[0]
                yield b"".join(_render(line, options) for line in reversed(fresh))


def _since(options: LogOptions) -> datetime | None:
    if options.since_time:
        try:
            return datetime.fromisoformat(options.since_time)
        except ValueError as error:
            raise bad_request(f"invalid sinceTime {options.since_time!r}") from error
    if options.since_seconds is not None:
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() - options.since_seconds, UTC)
    return None


def _render(line: _Line, options: LogOptions) -> bytes:
    prefix = f"{line.at.strftime('%Y-%m-%dT%H:%M:%S.%f')}000Z " if options.timestamps else ""
    return f"{prefix}{line.text}\n".encode()


def no_previous(pod: JSON, container: str) -> ApiError:
    """What a kubelet answers when the container has not restarted."""
    return bad_request(
        f'previous terminated container "{container}" in pod "{pod["metadata"]["name"]}" not found'
    )


class KubeletLogs:
    """Fetches from the kubelet over HTTPS, at the address and port that the Node object gives."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._session: aiohttp.ClientSession | None = None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = ssl.create_default_context()
            context.check_hostname = False  # kubelets serve certificates of their own making
            context.verify_mode = ssl.CERT_NONE
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))
        return self._session

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def endpoint(self, node_name: str) -> str:
        """`host:port` of a node's kubelet; empty when the node does not tell."""
        status = (self._store.get("nodes", "", node_name) or {}).get("status") or {}
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
        by_type = {item.get("type"): item.get("address") for item in status.get("addresses") or []}
        # the order in which the real server prefers a node's addresses
        wanted = ("Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP")
        address = next((by_type[kind] for kind in wanted if by_type.get(kind)), "")
        address = by_type.get("InternalIP") or address  # names of simulated nodes resolve nowhere
        return f"{address}:{port}" if address and port else ""

    async def read(self, pod: JSON, options: LogOptions) -> AsyncIterator[bytes]:
        """As `LogSource`."""
        meta = pod["metadata"]
        node = str((pod.get("spec") or {}).get("nodeName") or "")
        endpoint = self.endpoint(node)
        if not endpoint:
            raise ApiError(500, "InternalError", f'no preferred addresses found for node "{node}"')
        query = {
            "previous": "true" if options.previous else "",
            "follow": "true" if options.follow else "",
            "timestamps": "true" if options.timestamps else "",
            "tailLines": "" if options.tail_lines is None else str(options.tail_lines),
            "limitBytes": "" if options.limit_bytes is None else str(options.limit_bytes),
            "sinceSeconds": "" if options.since_seconds is None else str(options.since_seconds),
            "sinceTime": options.since_time,
        }
        text = urlencode({key: value for key, value in query.items() if value})
        url = (
            f"https://{endpoint}/containerLogs/{meta['namespace']}/{meta['name']}/{options.container}?{text}"
        )
        try:
            async with self._client().get(url) as response:
                if response.status >= 400:
                    message = (await response.text()).strip()
                    raise ApiError(response.status, "BadRequest", message or "the kubelet refused")
                async for chunk in response.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, OSError) as error:
            raise ApiError(500, "InternalError", f"Get {url!r}: {error}") from error


class AnyLogs:
    """Memory first, for what somebody put there; otherwise the node's kubelet if it has one."""

    def __init__(self, memory: MemoryLogs, kubelet: KubeletLogs) -> None:
        self._memory = memory
        self._kubelet = kubelet

    async def read(self, pod: JSON, options: LogOptions) -> AsyncIterator[bytes]:
        """As `LogSource`."""
        node = str((pod.get("spec") or {}).get("nodeName") or "")
        here = self._memory.holds(pod, options.container, previous=options.previous)
        source: LogSource = self._memory
        if not here and self._kubelet.endpoint(node):
            source = self._kubelet
        async for chunk in source.read(pod, options):
            yield chunk
