"""Messages that could not be processed and are kept for people to look at."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from cortexops.domain.redaction import redact


class Parked(NamedTuple):
    """One parked message. `source` is `unknown` where the stream's reader could not tell."""

    sequence: int
    source: str
    reason: str
    size: int  # bytes that it had when it came
    detail: str  # which field is wrong, and why
    at: datetime
    body: bytes

    @property
    def cut(self) -> bool:
        """Whether only the beginning was kept: then nothing can be read from it any more."""
        return self.size > len(self.body)

    @property
    def digest(self) -> str:
        """SHA-256 of what was kept, in hex, so that a record can name it without showing it."""
        return sha256(self.body).hexdigest()


class ReplayResult(NamedTuple):
    """What a replay did with one message. It is gone when nothing of it is left to mend."""

    sequence: int
    stored: int  # signals that the stream has now
    duplicates: int  # of these, signals that it had already
    gone: bool
    problems: tuple[str, ...] = ()
    """Why it is still parked, field by field."""


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey: only line feeds stay, every other control character,
    also those that turn the direction of writing, is written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _written_out(c) for c in text)


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def shown(body: bytes) -> str:
    """A body for people: secrets masked, nothing in it interpreted."""
    text = redact(body.decode("utf-8", "backslashreplace")).text
    return redact(printable(text)).text  # once more: a control character may have hidden a secret
