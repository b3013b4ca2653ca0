"""Templates: always escaped, secrets masked, one environment for all pages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse

from cortexops import __version__
from cortexops.domain.change import Change, DiffLine
from cortexops.domain.outgoing import WITHHELD, Destination, Withheld, outgoing
from cortexops.domain.redaction import BY_NAME, secret_name
from cortexops.domain.untrusted import seen
from cortexops.metrics import count_masked

FOLDER = Path(__file__).parent


def duration(seconds: float) -> str:
    """`41s`, `3m 20s`, `2h 05m`, `4d 3h`."""
    whole = max(0, int(seconds))
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour}h"
    if hours:
        return f"{hours}h {minute:02d}m"
    return f"{minutes}m {second:02d}s" if minutes else f"{second}s"


def offset(delta: timedelta) -> str:
    """`T+03:20`; before detection `T-00:41`; minutes go on beyond 59."""
    seconds = round(delta.total_seconds())
    minutes, second = divmod(abs(seconds), 60)
    return f"T{'-' if seconds < 0 else '+'}{minutes:02d}:{second:02d}"


def clock_text(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def words(name: str) -> str:
    """`approval_pending` → `approval pending`."""
    return str(name).replace("_", " ").lower()


@lru_cache(maxsize=4096)
def masked(text: str) -> str:
    """The text without secrets. When masking fails the text is withheld."""
    try:
        return outgoing(text, Destination.REPORT, count=count_masked)
    except Withheld:
        return WITHHELD


def plain(text: str) -> str:
    """A model's words: masked, and with everything that a reader would not see written out."""
    return seen(masked(text))


def masked_value(text: str, path: str) -> str:
    """A field's value; under a name that means a secret it is masked whole."""
    return BY_NAME if text and secret_name(path.rpartition("/")[2]) else masked(text)


def edited(change: Change) -> list[DiffLine]:
    """The fields that a change wrote, as people read a diff."""

    def text(present: bool, value: Any) -> str:
        return json.dumps(value, sort_keys=True, ensure_ascii=False) if present else ""

    return [
        DiffLine(
            path=field.path,
            before=text(field.before_present, field.before),
            after=text(field.after_present, field.after),
        )
        for field in change.edits
    ]


@lru_cache(maxsize=1)
def environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(duration=duration, clock=clock_text, words=words, masked=masked)
    made.filters.update(masked_value=masked_value, edited=edited, plain=plain)
    made.globals["version"] = __version__
    return made


def render(
    connection: HTTPConnection,
    template: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """A page. Who is signed in is on every page, the session's CSRF token is for its forms."""
    gate = connection.app.state.gate
    session = gate.session(connection)
    values = {
        "person": gate.person(connection),
        "csrf": session.csrf if session else "",
        "open_reads": gate.open_reads,
        "path": connection.scope["path"],
        **context,
    }
    page = environment().get_template(template).render(values)
    return HTMLResponse(page, status_code=status, headers=dict(headers or {}))
