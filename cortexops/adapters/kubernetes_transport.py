"""HTTP to one API server: authentication, time-outs, errors, and the count of requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from cortexops.adapters.kubernetes_config import Access, is_loopback, load_access
from cortexops.adapters.kubernetes_errors import Target, error_for, parse_status
from cortexops.domain.errors import InvalidInput, NoAnswer, TemporaryError
from cortexops.domain.resource import JSON

_READ_BUFFER = 2**21  # one watch line holds one object, and objects reach 1.5 MB
_USER_AGENT = "cortexops"
_LONGEST_WAIT = 2.0  # seconds; a server that asks for more patience is left to whoever repeats the whole
_TAIL_FACTOR = 32  # a server that sends more than was asked for is heard that much longer: the end tells most


_AS_GO_WRITES = tuple((char.encode(), f"\\u{ord(char):04x}".encode()) for char in "<>&\u2028\u2029")
"""A server compares the value of a test byte by byte with its own writing, which is that of Go's encoding/json."""


def _encoded(body: Any) -> bytes:
    """The body as a server would write it. These characters occur in strings only, so replacing them is safe."""
    data: bytes = msgspec.json.encode(body)
    for char, escaped in _AS_GO_WRITES:
        data = data.replace(char, escaped)
    return data


class UnservedPath(Exception):
    """A 404 that names no object: perhaps the resource is served in another version."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Transport:
    """One aiohttp session for one identity at one API server."""

    def __init__(self, access: Access, request_timeout: float) -> None:
        self._access = access
        self._timeout = request_timeout
        host = str(access.configuration.host).rstrip("/")
        # as kubectl reads an address without a scheme
        self._host = host if "://" in host else f"http://{host}"
        self._session = _session(access, self._host)
        self.requests = 0
        self._open: set[aiohttp.ClientResponse] = set()

    @classmethod
    async def open(cls, kubeconfig: str | None, context: str | None, request_timeout: float) -> Transport:
        """Load credentials and open a session (no request is sent)."""
        access = await load_access(kubeconfig, context)
        try:
            return cls(access, request_timeout)
        except (OSError, ValueError) as error:  # ssl: a certificate or key that is none
            raise InvalidInput(
                "kubeconfig", f"a certificate cannot be used ({type(error).__name__})"
            ) from None

    async def close(self) -> None:
        """Close the connections, also those of answers that nobody has read to their end (a watch left early)."""
        for response in list(self._open):
            if response.connection is not None and response.connection.transport is not None:
                response.connection.transport.abort()  # a polite TLS farewell could outlast the loop
            response.close()
        await self._session.close()
        for _ in range(3):
            await asyncio.sleep(0)  # transports are closed in the loop's next turns

    async def _authorization(self) -> str:
        settings = await self._access.configuration.auth_settings()
        return str((settings.get("BearerToken") or {}).get("value") or "")

    async def _renewed(self, used: str) -> bool:
        """After a 401: whether fresh credentials, other than those used, could be had."""
        if self._access.renew is None:
            return False
        await self._access.renew()
        return await self._authorization() != used

    @asynccontextmanager
    async def _response(
        self,
        method: str,
        path: str,
        target: Target,
        *,
        query: dict[str, str],
        data: bytes | None,
        content_type: str,
        accept: str,
        limits: aiohttp.ClientTimeout,
        tests: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = URL(self._host + path + (f"?{urlencode(query)}" if query else ""), encoded=True)
        proxy: dict[str, Any] = {}
        if self._access.configuration.proxy:
            proxy["proxy"] = self._access.configuration.proxy
        if self._access.configuration.tls_server_name:
            proxy["server_hostname"] = self._access.configuration.tls_server_name
        waited = renewed = False
        for _ in range(3):
            authorization = await self._authorization()
            headers = {"Accept": accept, "User-Agent": _USER_AGENT}
            if authorization:
                headers["Authorization"] = authorization
            if data is not None:
                headers["Content-Type"] = content_type
            self.requests += 1
            try:
                async with self._session.request(
                    method, url, headers=headers, data=data, timeout=limits, allow_redirects=False, **proxy
                ) as response:
                    if response.status < 400:
                        self._open.add(response)
                        transport = response.connection.transport if response.connection else None
                        try:
                            yield response
                        finally:
                            self._open.discard(response)
                            if transport is not None and not response.content.at_eof():
                                transport.abort()  # left early: nobody waits for the farewell of a watch
                        return
                    body = await response.read()
            except TimeoutError:
                raise NoAnswer(f"{target}: no answer from the API server in time") from None
            except (aiohttp.ClientError, OSError) as error:
                raise TemporaryError(
                    f"{target}: the API server cannot be reached ({type(error).__name__}: {error})"
                ) from None
            if method == "GET" and not waited and (wait := _wait(response)) is not None:
                waited = True
                await asyncio.sleep(wait)
                continue
            if response.status == 401 and not renewed and await self._renewed(authorization):
                renewed = True
                continue
            status = parse_status(body)
            failure = error_for(
                response.status,
                status,
                target,
                writing=method != "GET",
                tests=tests,
                retry_after=response.headers.get("Retry-After"),
                secret=authorization.partition(" ")[2],
            )
            if response.status == 404 and not (status.get("details") or {}).get("name"):
                raise UnservedPath(failure)
            raise failure

    async def send(
        self,
        method: str,
        path: str,
        target: Target,
        *,
        query: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        most_bytes: int | None = None,
        tests: bool = False,
    ) -> bytes:
        """One request, its whole answer (at most `most_bytes`, its end). Raises the errors of the cluster port."""
        data = None if body is None else _encoded(body)
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        async with self._response(
            method,
            path,
            target,
            query=query or {},
            data=data,
            content_type=content_type,
            accept=accept,
            limits=timeout,
            tests=tests,
        ) as response:
            if most_bytes is None:
                return await response.read()
            read, heard = bytearray(), 0
            async for chunk in response.content.iter_any():
                read += chunk
                heard += len(chunk)
                if len(read) > 2 * most_bytes:
                    del read[:-most_bytes]
                if heard >= _TAIL_FACTOR * most_bytes:
                    break
            return bytes(read[-most_bytes:])

    async def send_json(self, method: str, path: str, target: Target, **options: Any) -> JSON:
        """As `send`, decoded."""
        return decode(await self.send(method, path, target, **options), target)

    async def lines(
        self, path: str, target: Target, *, query: dict[str, str], timeout_seconds: int
    ) -> AsyncGenerator[bytes, None]:
        """The lines of a long answer, until it ends or `timeout_seconds` (and a grace) have passed."""
        timeout = aiohttp.ClientTimeout(total=timeout_seconds + self._timeout, sock_connect=self._timeout)
        async with self._response(
            "GET",
            path,
            target,
            query=query,
            data=None,
            content_type="",
            accept="application/json",
            limits=timeout,
        ) as response:
            pending: list[bytes] = []  # pieces of one line; joined once, since lines may be large
            async for chunk in response.content.iter_any():
                first, *rest = chunk.split(b"\n")
                pending.append(first)
                for piece in rest:
                    yield b"".join(pending)
                    pending = [piece]


def _wait(response: aiohttp.ClientResponse) -> float | None:
    """Seconds after which a server that is busy wants to be asked again, where it says so and means soon."""
    if response.status not in (429, 503):
        return None
    try:
        seconds = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return max(seconds, 0.05) if seconds <= _LONGEST_WAIT else None


def decode(data: bytes, target: Target) -> JSON:
    """Parse an answer. Raises `TemporaryError` for one that is not a JSON object (a proxy's page, say)."""
    try:
        decoded = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        decoded = None
    if not isinstance(decoded, dict):
        raise TemporaryError(f"{target}: the API server's answer is not a JSON object")
    return decoded


def _session(access: Access, host: str) -> aiohttp.ClientSession:
    """Connections with the client certificate and the authorities of the kubeconfig; a proxy from the environment
    must not see loopback calls."""
    connector: aiohttp.BaseConnector | None
    if host.startswith("http://"):  # nothing to verify: the system's authorities take 20 ms to read
        connector = aiohttp.TCPConnector(limit=access.configuration.connection_pool_maxsize)
    else:
        from kubernetes_asyncio.client.rest import RESTClientObject

        secured: aiohttp.ClientSession = RESTClientObject(access.configuration).pool_manager
        connector = secured.connector
        secured.detach()
    return aiohttp.ClientSession(
        connector=connector, trust_env=not is_loopback(host), read_bufsize=_READ_BUFFER
    )
