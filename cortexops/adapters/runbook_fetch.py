"""Runbooks from addresses: one bounded GET to a host that the settings name, and nowhere else.

The name is resolved once, every address it has is judged, and the connection goes to the judged address, so
that a name that changes its mind between looking and connecting leads nowhere. Redirects stay on the host.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import time
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import httpx

from cortexops.adapters.bounded_yaml import MOST_BYTES
from cortexops.adapters.runbooks import parse_runbook
from cortexops.domain.action import ActionSpec
from cortexops.domain.errors import InvalidInput
from cortexops.domain.runbook import Origin, Problem
from cortexops.metrics import RUNBOOK_FETCHES
from cortexops.ports.runbooks import Fetched

PLACES = ("alertname", "severity", "cluster", "kind", "namespace", "name")
"""What an address template may name, as `{alertname}`."""
_PLACE = re.compile(r"\{([a-z]*)\}")
_WORD = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?", re.ASCII)
_SECONDS = 5.0
_MOST_REDIRECTS = 3
_KEPT_SECONDS, _KEPT_FAILURE_SECONDS = 300.0, 60.0
_MOST_KEPT = 256
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class _Refused(Exception):
    """The address is not read, or what came is no runbook; the text is for people, `outcome` for figures."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class _Place(NamedTuple):
    """Where the request goes: the parts of the URL, and the address that was judged."""

    parts: SplitResult
    port: int
    address: str


class HttpRunbooks:
    """`template` is an address with places such as `{alertname}`; `allowed_hosts` are further hosts that the
    addresses in alerts may name. Raises `InvalidInput` for a template that is none."""

    def __init__(
        self,
        template: str,
        specs: Mapping[str, ActionSpec],
        *,
        allowed_hosts: Collection[str] = (),
        allow_private: bool = False,
    ) -> None:
        self._template = template
        self._specs = specs
        self._allow_private = allow_private
        self._hosts = {host.lower() for host in allowed_hosts}
        self._kept: dict[str, tuple[float, Fetched]] = {}
        if template:
            self._hosts.add(check_template(template))

    def address(self, values: dict[str, str]) -> str:
        """The template with these values; empty when there is no template, or a value is no plain word."""
        wanted = _PLACE.findall(self._template)
        if not self._template or not all(_WORD.fullmatch(values.get(name, "")) for name in wanted):
            return ""
        return _PLACE.sub(lambda match: quote(values[match[1]], safe=""), self._template)

    def may_fetch(self, address: str) -> bool:
        """Whether it is http(s) and its host is named by the settings."""
        try:
            parts = _parsed(address)
        except _Refused:
            return False
        return (parts.hostname or "") in self._hosts

    async def fetch(self, address: str) -> Fetched:
        """Read it, or say why not. Answers are kept for five minutes, failures for one."""
        kept = self._kept.get(address)
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        try:
            async with asyncio.timeout(_SECONDS):
                found, outcome = self._judged(address, await self._read(address))
        except TimeoutError:
            found, outcome = _failed(address, f"did not answer within {_SECONDS:g} s"), "timeout"
        except _Refused as refusal:
            found, outcome = _failed(address, str(refusal)), refusal.outcome
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            found, outcome = _failed(address, f"cannot be read ({type(error).__name__})"), "unreachable"
        RUNBOOK_FETCHES.labels(outcome=outcome).inc()
        seconds = _KEPT_SECONDS if found.runbook else _KEPT_FAILURE_SECONDS
        while len(self._kept) >= _MOST_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[address] = (time.monotonic() + seconds, found)
        return found

    def _judged(self, address: str, raw: bytes) -> tuple[Fetched, str]:
        runbook, problems = parse_runbook(raw, self._specs, source=_shown(address), origin=Origin.URL)
        return Fetched(runbook, tuple(problems)), "ok" if runbook else "invalid"

    async def _read(self, address: str) -> bytes:
        here = address
        for _ in range(_MOST_REDIRECTS + 1):
            if not self.may_fetch(here):
                raise _Refused("refused", "its host is not in runbooks.allowed_hosts")
            place = await self._resolved(_parsed(here))
            body, onward = await _get(place)
            if onward is None:
                return body
            there = urljoin(here, onward)
            if _origin(_parsed(there)) != _origin(place.parts):
                raise _Refused("refused", "redirects to another host: name the final address instead")
            here = there
        raise _Refused("refused", f"redirects more than {_MOST_REDIRECTS} times")

    async def _resolved(self, parts: SplitResult) -> _Place:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                parts.hostname, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
            )
        except (OSError, UnicodeError):
            raise _Refused("unreachable", "its host has no address") from None
        addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
        if not addresses:
            raise _Refused("unreachable", "its host has no address")
        if not self._allow_private and not all(_public(address) for address in addresses):
            raise _Refused(
                "refused",
                "its host is inside (a private address): set runbooks.allow_private if that is meant",
            )
        return _Place(parts, port, addresses[0])


def check_template(template: str) -> str:
    """The host of an address template. Raises `InvalidInput` saying what is wrong with it."""
    field = "runbooks.url_template"
    for name in _PLACE.findall(template):
        if name not in PLACES:
            raise InvalidInput(field, f"{{{name}}} is not known; known are {', '.join(PLACES)}")
    if "{" in _PLACE.sub("", template) or "}" in _PLACE.sub("", template):
        raise InvalidInput(field, "a place is written as {alertname}")
    try:
        parts = _parsed(_PLACE.sub("x", template))
    except _Refused as refusal:
        raise InvalidInput(field, str(refusal)) from None
    if "{" in urlsplit(template).netloc:
        raise InvalidInput(field, "the host may not depend on an alert: use places in path and query only")
    return parts.hostname or ""


def _parsed(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises where it is none
    except ValueError:
        raise _Refused("refused", "is no address") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _Refused("refused", "must be an http or https address with a host")
    if parts.username is not None or parts.password is not None:
        raise _Refused("refused", "may not hold a user or password")
    if not address.isascii() or not address.isprintable() or " " in address or len(address) > 2000:
        raise _Refused("refused", "holds characters that no address has, or is too long")
    return parts


def _origin(parts: SplitResult) -> tuple[str, str, int | None]:
    return parts.scheme, parts.hostname or "", parts.port


def _public(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    inner = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
    return parsed.is_global and not parsed.is_multicast and (inner is None or inner.is_global)


async def _get(place: _Place) -> tuple[bytes, str | None]:
    """(body, None) or (nothing, where it redirects to)."""
    host = f"[{place.address}]" if ":" in place.address else place.address
    netloc = f"{host}:{place.port}"
    url = place.parts._replace(netloc=netloc, fragment="").geturl()
    named = place.parts.netloc
    async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False, follow_redirects=False) as client:
        request = client.build_request(
            "GET",
            url,
            headers={
                "Host": named,
                "Accept": "application/yaml, text/yaml, text/plain",
                "Accept-Encoding": "identity",
            },
            extensions={"sni_hostname": place.parts.hostname},
        )
        response = await client.send(request, stream=True)
        try:
            if response.status_code in _REDIRECTS and response.headers.get("location"):
                return b"", response.headers["location"]
            _check(response)
            read = bytearray()
            async for chunk in response.aiter_raw():
                read += chunk
                if len(read) > MOST_BYTES:
                    raise _Refused("too_large", f"is larger than {MOST_BYTES // 1024} KiB")
        finally:
            await response.aclose()
    if bytes(read).lstrip()[:1] == b"<":
        raise _Refused("no_runbook", "answers a page, not YAML: name the address of the raw file")
    return bytes(read), None


def _check(response: httpx.Response) -> None:
    if response.status_code == 404:
        raise _Refused("not_found", "there is none (404)")
    if response.status_code != 200:
        raise _Refused("unreachable", f"answers {response.status_code}")
    if "html" in response.headers.get("content-type", "").lower():
        raise _Refused("no_runbook", "answers a page, not YAML: name the address of the raw file")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise _Refused("no_runbook", "answers compressed, which was not asked for")


def _shown(address: str) -> str:
    """Without query, which may hold a token."""
    return urlsplit(address)._replace(query="", fragment="").geturl()


def _failed(address: str, message: str) -> Fetched:
    return Fetched(problems=(Problem(file=_shown(address), field="address", message=message),))
