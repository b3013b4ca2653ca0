"""The sources, one module each, found by discovery: it calls `SOURCES.register(name, source)` when imported.

Belongs here: how one sort of payload becomes signals, and how its sender shows who it is. Does not: any I/O.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol, runtime_checkable

from cortexops.domain.errors import PermanentError
from cortexops.registry import Registry
from ingest.source import Source

SOURCES: Registry[Source] = Registry("source", "ingest.sources")

REPLAY = timedelta(minutes=5)
"""A signed request whose time differs from ours by more is refused."""
TOKEN_HEADER = "x-cortexops-token"


class Secrets(NamedTuple):
    """What is configured for one source. Several keys count at once, so that they can be changed in turn."""

    keys: tuple[str, ...] = ()  # signing keys, or tokens where the sender does not sign
    certificates: tuple[bytes, ...] = ()  # PEM, of a sender that signs with a certificate
    topics: tuple[str, ...] = ()  # what such a sender may send from

    def __repr__(self) -> str:
        return f"Secrets(keys={len(self.keys)}, certificates={len(self.certificates)})"


class Unauthorised(PermanentError):
    """The sender has not shown who it is. The text says what was expected and holds no secret."""


@runtime_checkable
class Verifies(Protocol):
    """A source whose sender signs what it sends."""

    def verify(self, headers: Mapping[str, str], body: bytes, secrets: Secrets, now: datetime) -> None:
        """Header names are in lower case. Raises `Unauthorised`."""
        ...


@runtime_checkable
class ChecksSecrets(Protocol):
    """A source that can tell when the gateway starts whether its secrets are of any use."""

    def check_secrets(self, secrets: Secrets) -> None:
        """Raises `InvalidInput` naming the setting."""
        ...


def verify(source: Source, headers: Mapping[str, str], body: bytes, secrets: Secrets, now: datetime) -> None:
    """The source's own check, or a token where it has none. Raises `Unauthorised`."""
    if isinstance(source, Verifies):
        source.verify(headers, body, secrets, now)
    else:
        verify_token(headers, secrets.keys)


def verify_token(headers: Mapping[str, str], tokens: Iterable[str]) -> None:
    """One of the tokens as bearer, as password of HTTP basic, or in `X-CortexOps-Token`.

    Raises `Unauthorised`, also when there are no tokens to compare with.
    """
    shown = _shown_token(headers)
    if not shown or not _among(shown, tokens):
        raise Unauthorised("a valid token is needed")


def verify_hmac(shown: Iterable[str], message: bytes, keys: Iterable[str], header: str) -> None:
    """One of the shown signatures (hex) is the HMAC-SHA256 of the message under one of the keys.

    Raises `Unauthorised`, also when there are no keys.
    """
    signatures = list(shown)[:16]
    valid = [hmac.new(key.encode(), message, "sha256").hexdigest() for key in keys]
    # every pair is compared: how long it takes says nothing about which one was close
    found = [_among(signature.lower(), valid) for signature in signatures]
    if not any(found):
        raise Unauthorised(f"the header {header} holds no valid signature")


def check_age(moment: datetime, now: datetime, window: timedelta = REPLAY) -> None:
    """Raises `Unauthorised` for a request that was signed too long ago, or by a clock too far ahead."""
    if abs(now - moment) > window:
        raise Unauthorised("the request was signed too long ago, or the sender's clock is wrong")


def _among(shown: str, valid: Iterable[str]) -> bool:
    found = False
    for one in valid:
        found |= bool(one) and hmac.compare_digest(shown.encode("utf-8", "replace"), one.encode())
    return found


def _shown_token(headers: Mapping[str, str]) -> str:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return ""
    return headers.get(TOKEN_HEADER, "")
