"""The boundaries of a run: every call to the outside, and a process that dies just before, amid or after one."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from temporalio import activity

from cortexops.domain.resource import Frozen

WRITES = frozenset({"create", "patch", "replace", "delete"})
"""Calls to the API server that store something, unless they are dry runs."""
PROPOSES = frozenset({"propose", "withdraw", "push", "open", "close"})
"""What is sent to a Git repository and to its provider of pull requests."""
RECORDS = frozenset({"intend", "settle", "append", "admit"})
"""Calls to the database that store something."""
_AMID = 0.003  # seconds after a call has begun: the request is on its way, the answer is not yet read
_LOOK = 0.01
NOT_CALLS = frozenset({"close", "name", "requests", "health"})
"""What a client has beside its calls."""


class When(StrEnum):
    BEFORE = "before"
    AMID = "amid"
    AFTER = "after"


class Call(Frozen):
    """One outward call of a run: the `nth` of its name within one activity."""

    activity: str
    name: str
    nth: int

    def __str__(self) -> str:
        return f"{self.activity}: {self.name} #{self.nth}"

    @property
    def sends(self) -> bool:
        """Whether it changes something in the cluster, or in Git."""
        parts = self.name.split()
        return (parts[0] in WRITES and "dry" not in parts) or parts[0] in PROPOSES

    @property
    def stores(self) -> bool:
        """Whether it changes anything at all outside of the process."""
        return self.sends or self.name in RECORDS


class Boundary(Frozen):
    call: Call
    when: When

    def __str__(self) -> str:
        return f"{self.call} {self.when}"


class Order(Frozen):
    """What the process is to do at a boundary: die by its own hand, or wait while another process is killed.

    `halt` names a file: the process waits there until it exists.
    """

    boundary: Boundary
    halt: str = ""


class Journal:
    """Lines that outlive the process: each is in the kernel's hands before the next step."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **line: Any) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")


class Line(NamedTuple):
    call: Call
    done: bool


def calls_of(path: Path) -> list[Call]:
    """The calls of a run in order."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Call.model_validate(told["call"]) for line in lines if "call" in (told := json.loads(line))]


class Tripwire:
    """Counts the calls of one process and, at the ordered boundary, ends it."""

    def __init__(self, journal: Journal, order: Order | None) -> None:
        self._journal = journal
        self._order = order
        self._seen: Counter[tuple[str, str]] = Counter()

    def call(self, name: str) -> Call:
        where = activity.info().activity_type if activity.in_activity() else ""
        self._seen[where, name] += 1
        return Call(activity=where, name=name, nth=self._seen[where, name])

    def around(self, owner: type, method: str, name: Callable[..., str | None]) -> None:
        """Have a class's method pass here as well, under the name that its arguments give; None: unseen."""
        found = getattr(owner, method)

        async def called(self: Any, *arguments: Any, **options: Any) -> Any:
            make = partial(found, self, *arguments, **options)
            said = name(*arguments)
            return await make() if said is None else await tripwire.made(tripwire.call(said), make)

        tripwire = self
        setattr(owner, method, called)

    async def made(self, call: Call, make: Callable[[], Any]) -> Any:
        """Make the call, unless it is never to happen."""
        self._journal.write(call=call.model_dump())
        await self._at(call, When.BEFORE)
        if self._ordered(call, When.AMID):
            under_way = asyncio.ensure_future(make())
            await asyncio.sleep(_AMID)
            await self._at(call, When.AMID)
            return await under_way
        answer = await make()
        await self._at(call, When.AFTER)
        return answer

    def _ordered(self, call: Call, when: When) -> bool:
        return self._order is not None and self._order.boundary == Boundary(call=call, when=when)

    async def _at(self, call: Call, when: When) -> None:
        if not self._ordered(call, when):
            return
        assert self._order is not None
        self._journal.write(reached=str(self._order.boundary))
        if not self._order.halt:
            os.kill(os.getpid(), signal.SIGKILL)
        while not Path(self._order.halt).exists():
            await asyncio.sleep(_LOOK)


class Wired:
    """A client whose every call passes the tripwire. What is no coroutine function is passed through."""

    def __init__(self, inner: Any, tripwire: Tripwire) -> None:
        self._inner = inner
        self._tripwire = tripwire

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in NOT_CALLS or not inspect.iscoroutinefunction(found):
            return found

        async def called(*arguments: Any, **options: Any) -> Any:
            said = [name]
            said += [str(arguments[0])] if arguments and name in WRITES | {"get", "list"} else []
            said += [options["subresource"]] if options.get("subresource") else []
            said += ["dry"] if options.get("dry_run") else []
            call = self._tripwire.call(" ".join(said))
            return await self._tripwire.made(call, partial(found, *arguments, **options))

        return called
