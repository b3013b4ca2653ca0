"""Who is asking: a token in a header, or a session that a token opened. Never the body of a request."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from starlette.requests import HTTPConnection

from cortexops.domain.approval import Person
from cortexops.domain.errors import PermanentError
from cortexops.domain.people import People

COOKIE = "cortexops_session"
CSRF_HEADER = "x-csrf-token"
SESSION_LIFE = timedelta(hours=12)
HOW_TO_ADD = (
    "Add a person to the settings: people: [{id: ana, roles: [oncall], token_sha256: …}], where the hash is "
    "what `printf %s TOKEN | sha256sum` prints; then send the token as `Authorization: Bearer TOKEN`, "
    "or sign in at /login."
)


class Unauthenticated(PermanentError):
    """Nobody knows who is asking; the text says how to say it."""


class Session:
    """A signed statement that this browser belongs to a person. `csrf` is bound to this very session."""

    def __init__(self, person_id: str, nonce: str, csrf: str) -> None:
        self.person_id = person_id
        self.nonce = nonce
        self.csrf = csrf


class Sessions:
    """Signs and reads session cookies. The secret lives as long as the process, and so do they."""

    def __init__(self, clock: Callable[[], datetime], *, secret: bytes | None = None) -> None:
        self._clock = clock
        self._secret = secret or secrets.token_bytes(32)
        self._ended: dict[str, float] = {}

    def open(self, person: Person) -> str:
        """The cookie's value for somebody whose token was just verified."""
        expires = (self._clock() + SESSION_LIFE).timestamp()
        body = json.dumps({"p": person.id, "n": secrets.token_urlsafe(12), "e": expires}).encode()
        payload = base64.urlsafe_b64encode(body).decode()
        return f"{payload}.{self._sign('session', payload)}"

    def read(self, cookie: str) -> Session | None:
        """The session, unless the cookie is forged, too old or ended."""
        payload, _, signature = cookie.partition(".")
        if not hmac.compare_digest(self._sign("session", payload).encode(), signature.encode()):
            return None
        try:
            body = json.loads(base64.urlsafe_b64decode(payload))
        except (binascii.Error, ValueError):
            return None
        if body["e"] <= self._clock().timestamp() or body["n"] in self._ended:
            return None
        return Session(body["p"], body["n"], self._sign("csrf", payload))

    def end(self, session: Session) -> None:
        """A session that was left is worth nothing any more, even if somebody kept the cookie."""
        now = self._clock().timestamp()
        self._ended = {nonce: at for nonce, at in self._ended.items() if at > now}
        self._ended[session.nonce] = now + SESSION_LIFE.total_seconds()

    def _sign(self, purpose: str, payload: str) -> str:
        return hmac.new(self._secret, f"{purpose}:{payload}".encode(), hashlib.sha256).hexdigest()


class Gate:
    """Tells who is asking, and whether they may read."""

    def __init__(self, people: People, sessions: Sessions, *, open_reads: bool) -> None:
        self.people = people
        self.sessions = sessions
        self.open_reads = open_reads
        """True only on loopback with nobody configured. Acting needs an identity all the same."""

    def session(self, connection: HTTPConnection) -> Session | None:
        return self.sessions.read(connection.cookies.get(COOKIE, ""))

    def person(self, connection: HTTPConnection) -> Person | None:
        """Who the headers or the session prove it is. A wrong token is nobody, whatever the cookie says."""
        token = _token(connection)
        if token is not None:
            return self.people.by_token(token)
        session = self.session(connection)
        return self.people.by_id(session.person_id, via="web") if session else None

    def may_read(self, connection: HTTPConnection) -> bool:
        return self.open_reads or self.person(connection) is not None

    def actor(self, connection: HTTPConnection, *, csrf: str = "") -> Person:
        """Who acts. Raises `Unauthenticated`; a session counts only together with its own CSRF token."""
        person = self.person(connection)
        if person is None:
            if not self.people.with_tokens:
                raise Unauthenticated(f"Nobody is configured who could act. {HOW_TO_ADD}")
            raise Unauthenticated(
                "Acting needs an identity: send `Authorization: Bearer TOKEN` or `X-API-Key: TOKEN`, "
                "or sign in at /login."
            )
        if _token(connection) is None:
            session = self.session(connection)
            shown = csrf or connection.headers.get(CSRF_HEADER, "")
            if session is None or not hmac.compare_digest(session.csrf.encode(), shown.encode()):
                raise Unauthenticated(
                    "The form did not come from this console, or the session has ended. "
                    "Open the page again and repeat it."
                )
        return person


def _token(connection: HTTPConnection) -> str | None:
    """The token in the headers; None when there is none (an empty one is a wrong one)."""
    authorization = connection.headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""
    return connection.headers.get("x-api-key")
