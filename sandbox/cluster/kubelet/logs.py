"""Container logs: of the running instance and of the one before it."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import NamedTuple

from sandbox.cluster.controllers.clock import micro_stamp

_MOST_LINES = 5000


class Entry(NamedTuple):
    """One line and when it was written."""

    at: datetime
    text: str


class LogBook:
    """The lines of every container, by namespace, pod and container name."""

    def __init__(self) -> None:
        self._now: dict[tuple[str, str, str], deque[Entry]] = {}
        self._before: dict[tuple[str, str, str], deque[Entry]] = {}

    def begin(self, namespace: str, pod: str, container: str) -> None:
        """A new instance starts: what was current is now previous."""
        where = (namespace, pod, container)
        if where in self._now:
            self._before[where] = self._now[where]
        self._now[where] = deque(maxlen=_MOST_LINES)

    def write(self, namespace: str, pod: str, container: str, at: datetime, text: str) -> None:
        """Add a line to the running instance."""
        self._now.setdefault((namespace, pod, container), deque(maxlen=_MOST_LINES)).append(Entry(at, text))

    def forget(self, namespace: str, pod: str) -> None:
        """The pod is gone, its logs with it."""
        for book in (self._now, self._before):
            for where in [one for one in book if one[:2] == (namespace, pod)]:
                del book[where]

    def has(self, namespace: str, pod: str, container: str, *, previous: bool = False) -> bool:
        """Whether that instance has ever started here."""
        return (namespace, pod, container) in (self._before if previous else self._now)

    def read(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        previous: bool = False,
        tail_lines: int | None = None,
        limit_bytes: int | None = None,
        timestamps: bool = False,
        since: datetime | None = None,
    ) -> str:
        """The text as the kubelet serves it; empty when that instance never started."""
        entries = list((self._before if previous else self._now).get((namespace, pod, container), ()))
        if since is not None:
            entries = [entry for entry in entries if entry.at >= since]
        if tail_lines is not None:
            entries = entries[-tail_lines:] if tail_lines > 0 else []
        text = "".join(
            f"{micro_stamp(entry.at)} {entry.text}\n" if timestamps else f"{entry.text}\n"
            for entry in entries
        )
        return text if limit_bytes is None else text.encode()[:limit_bytes].decode("utf-8", "ignore")
