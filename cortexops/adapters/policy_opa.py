"""Rego on an Open Policy Agent server, through its HTTP API."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from opa_client.opa_async import AsyncOpaClient

from cortexops.adapters.policy_bundle import revision_of
from cortexops.domain.errors import InvalidInput
from cortexops.domain.policy import PolicyDecision, PolicyInput, denied, read_decision
from cortexops.telemetry import get_logger

_PACKAGE, _RULE = "cortexops", "decision"
_log = get_logger(__name__)


class _Client(AsyncOpaClient):  # type: ignore[misc]  # the package has no types
    """The client with the one call that it lacks: the modules' text, all in one request."""

    async def modules(self) -> dict[str, str]:
        """Id → Rego text of everything that the server has loaded."""
        async with self._request("GET", f"{self.root_url}/policies") as response:
            response.raise_for_status()
            body = await response.json()
        return {policy["id"]: policy["raw"] for policy in body.get("result", [])}

    async def settings(self) -> object:
        """The document `data.cortexops.config`, or None."""
        async with self._request("GET", f"{self.root_url}/data/{_PACKAGE}/config") as response:
            response.raise_for_status()
            body = await response.json()
        return body.get("result")


class OpaPolicy:
    """`PolicyEngine` over an OPA server. Use it from one event loop.

    `revision` is read from the server with every question (its modules, `data.cortexops.config`, and the
    revisions of its bundles), so that an approval given under another policy does not count. Raises
    `InvalidInput` for a URL that is not http(s)://host:port.
    """

    name = "opa"

    def __init__(self, url: str, *, token: str | None = None, timeout_seconds: float = 5.0) -> None:
        host, port, tls = _address(url)
        self._timeout = timeout_seconds
        self._lock = asyncio.Lock()
        self._connected = False
        self._client = _Client(
            host=host,
            port=port,
            ssl=tls,
            token=token,
            retries=1,
            timeout=timeout_seconds,
        )
        self._revision = ""

    @property
    def revision(self) -> str:
        """The revision under which the last question was answered; empty before the first."""
        return self._revision

    async def evaluate(self, question: PolicyInput) -> PolicyDecision:
        """Ask. Reasons of denials of our own: `policy_unreachable`, `policy_timeout`, `policy_error`,
        `policy_undefined`, `policy_revision_unknown`."""
        try:
            document = json.loads(json.dumps(question.document(), allow_nan=False))
            async with asyncio.timeout(self._timeout):
                await self._connect()
                content = await self._content()
                body = await self._client.query_rule(document, _PACKAGE, _RULE, {"provenance": "true"})
        except TimeoutError:
            return self._denied("policy_timeout", f"no answer in {self._timeout:g} s")
        except aiohttp.ClientResponseError as error:
            return self._denied("policy_error", f"HTTP {error.status}")
        except (aiohttp.ClientConnectionError, OSError) as error:
            return self._denied("policy_unreachable", type(error).__name__)
        except (
            aiohttp.ClientError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            return self._denied("policy_error", f"answer not understood: {type(error).__name__}")
        if not isinstance(body, dict):
            return self._denied("policy_error", "answer not understood")
        bundles = _bundle_revisions(body)
        if content is None and not bundles:
            return self._denied(
                "policy_revision_unknown", "the server shows neither its modules nor a bundle"
            )
        self._revision = hashlib.sha256(json.dumps([content, bundles]).encode()).hexdigest()
        return read_decision(body.get("result"), revision=self._revision, engine=self.name)

    async def health(self) -> str | None:
        """Whether the server answers and has a decision at all."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._connect()
                body = await self._client.query_rule({}, _PACKAGE, _RULE)
        except TimeoutError:
            return f"no answer in {self._timeout:g} s"
        except aiohttp.ClientResponseError as error:
            return f"HTTP {error.status}"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f"{type(error).__name__}: {error}"[:200]
        defined = isinstance(body, dict) and "result" in body
        return None if defined else f"data.{_PACKAGE}.{_RULE} is undefined"

    async def close(self) -> None:
        async with self._lock:
            if self._connected:
                await self._client.close_connection()
                self._connected = False

    def _denied(self, reason: str, why: str) -> PolicyDecision:
        _log.error("policy denied because it could not be asked", reason=reason, why=why)
        return denied(reason, revision=self._revision, engine=self.name)

    async def _connect(self) -> None:
        async with self._lock:
            if not self._connected:
                await self._client._init_session()
                self._connected = True

    async def _content(self) -> str | None:
        """The hash of what is loaded, or None when the server does not let us see it."""
        try:
            modules, settings = await asyncio.gather(self._client.modules(), self._client.settings())
        except aiohttp.ClientResponseError as error:
            if error.status in {401, 403}:
                return None
            raise
        return revision_of(modules, settings)


def _address(url: str) -> tuple[str, int, bool]:
    """Host, port, and whether TLS is spoken."""
    wrong = InvalidInput("policy.opa_url", "must look like http://host:8181, with a port and without a path")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if not host or not port or parts.scheme not in {"http", "https"} or parts.path.strip("/") or parts.query:
        raise wrong
    return f"[{host}]" if ":" in host else host, port, parts.scheme == "https"


def _bundle_revisions(body: dict[str, Any]) -> dict[str, str]:
    """Bundle → revision, as the server says under `provenance`; bundles without a revision do not count."""
    provenance = body.get("provenance")
    bundles = provenance.get("bundles") if isinstance(provenance, dict) else None
    if not isinstance(bundles, dict):
        return {}
    found = {name: about.get("revision") for name, about in bundles.items() if isinstance(about, dict)}
    return {name: str(revision) for name, revision in sorted(found.items()) if revision}
