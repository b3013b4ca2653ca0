"""Errors, named by what the caller should do.

CortexError
├── PermanentError            do not retry: the same call will fail again
│   ├── InvalidInput          the input is wrong; says which field and how to mend it
│   ├── NotFound              the object is not there
│   ├── Forbidden             the identity lacks a permission; names verb and resource
│   ├── Conflict              the object changed since it was read; read again and decide anew
│   ├── Rejected              the other side understood and refused (validation, admission, quota)
│   └── IntegrityError        stored data is not what was written
└── TemporaryError(delay)     try again, not before `delay`
    └── NoAnswer              nothing came in time: asking for the like again would cost as much
"""

from __future__ import annotations

from datetime import timedelta

_LONGEST_TEXT = 2000  # characters; an error text must not become a channel for a whole response body


class CortexError(Exception):
    """Base of every error that this product raises on purpose. The text is capped."""

    def __init__(self, message: str) -> None:
        super().__init__(message[:_LONGEST_TEXT])


class PermanentError(CortexError):
    """The same call would fail again."""


class InvalidInput(PermanentError):
    """The input is wrong: `field` names the place, the message says how to mend it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class NotFound(PermanentError):
    """The object is not there."""


class Forbidden(PermanentError):
    """The identity in use may not do this; `verb` and `resource` name the missing permission."""

    def __init__(self, message: str, *, verb: str = "", resource: str = "", namespace: str = "") -> None:
        super().__init__(message)
        self.verb = verb
        self.resource = resource
        self.namespace = namespace


class Conflict(PermanentError):
    """The object changed since it was read."""


class Rejected(PermanentError):
    """The other side understood the request and refused it."""


class IntegrityError(PermanentError):
    """Stored data is not what was written."""


class TemporaryError(CortexError):
    """Worth trying again, not before `delay`."""

    def __init__(self, message: str, *, delay: timedelta = timedelta(seconds=1)) -> None:
        super().__init__(message)
        self.delay = delay


class NoAnswer(TemporaryError):
    """Nothing came within the time limit of one request."""
