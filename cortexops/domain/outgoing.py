"""The one gate for text that leaves: masked for its destination, counted, or withheld.

Whatever fails in here raises `Withheld`, and then nothing leaves: no caller has to know how masking fails.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from cortexops.domain.errors import PermanentError
from cortexops.domain.known_secrets import KnownSecrets
from cortexops.domain.redaction import masked_structure, redact
from cortexops.domain.untrusted import seen

Count = Callable[[str, int], None]
"""Told of each kind of value that was masked, and how many; `cortexops.metrics.count_masked` at the edges."""

WITHHELD = "[withheld: it could not be checked for secrets]"
"""What stands where a text had to stay back and something must be shown."""

FAILURES = (
    ValueError, TypeError, RuntimeError, ArithmeticError, LookupError, AttributeError, MemoryError, OSError,
    ImportError, AssertionError,
)  # fmt: skip
"""What a redactor may raise: a broken pattern, an endless recursion, a detector that is not installed."""


class Destination(StrEnum):
    """Where text goes."""

    PROMPT = "prompt"
    EMBEDDING = "embedding"
    CHAT = "chat"
    AUDIT = "audit"
    LOG = "log"
    REPORT = "report"


class Withheld(PermanentError):
    """Masking failed; the text must not leave. Says why by the error's type, never by the text."""

    def __init__(self, destination: Destination, reason: str) -> None:
        super().__init__(f"{destination}: withheld, it could not be checked for secrets ({reason})")
        self.destination = destination


def outgoing(
    text: str, destination: Destination, *, count: Count | None = None, known: KnownSecrets | None = None
) -> str:
    """The text as it may leave. Raises `Withheld` when it cannot be checked.

    Characters that nobody sees are written out first: they hide secrets from a search, orders from a reader
    and colour what a terminal shows. `known` are secrets that this investigation has read.
    """
    try:
        clean = seen(text)
        if known is not None:
            clean, number = known.mask(clean)
            if number and count is not None:
                count("known_secret", number)
        result = redact(clean)
        if count is not None:
            for kind, number in result.counts.items():
                count(kind, number)
    except FAILURES as error:
        raise Withheld(destination, type(error).__name__) from None
    return result.text


def outgoing_texts(
    value: Any, destination: Destination, *, count: Count | None = None, known: KnownSecrets | None = None
) -> Any:
    """A structure whose names are our own and tell nothing: every string masked by its content only.

    Raises `Withheld`.
    """

    def checked(inner: Any) -> Any:
        if isinstance(inner, str):
            return outgoing(inner, destination, count=count, known=known)
        if isinstance(inner, dict):
            return {key: checked(each) for key, each in inner.items()}
        if isinstance(inner, list | tuple):
            return [checked(each) for each in inner]
        return inner

    try:
        return checked(value)
    except RecursionError as error:
        raise Withheld(destination, type(error).__name__) from None


def outgoing_value(
    value: Any,
    destination: Destination,
    *,
    name: str = "",
    count: Count | None = None,
    known: KnownSecrets | None = None,
) -> Any:
    """A structure of plain data as it may leave: every string masked, those under secret names as a whole.

    Raises `Withheld`, also for a structure that is nested too deeply to be checked.
    """
    try:
        return masked_structure(
            name, value, lambda text: outgoing(text, destination, count=count, known=known), count
        )
    except FAILURES as error:
        raise Withheld(destination, type(error).__name__) from None
