"""What a killed owner may have left behind: pid files and, where nothing ended them, engines."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

try:
    import psutil  # type: ignore[import-untyped]
except ImportError:  # it comes with the embedded extra; `require_extra` says so
    psutil = None

_PATIENCE = 5.0  # seconds given to an orphan to end by itself
_POLL = 0.03


def remember(pid_file: Path, pid: int) -> None:
    """Write down a child, with its creation time: ids are given out again, pairs are not."""
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return  # it ended already
    pid_file.write_text(json.dumps({"pid": pid, "created": created}), encoding="ascii")


def runs_with(pid: int, argument: str) -> bool | None:
    """Whether the living process `pid` has this argument on its command line; None when nobody has the id."""
    try:
        return argument in psutil.Process(pid).cmdline()
    except psutil.Error:
        return None


async def end_orphan(pid_file: Path) -> None:
    """End the child that the file records, if it still lives, and remove the file.

    The caller holds the data folder's lock, so whoever runs under the recorded id has no owner any more.
    """
    orphan = _recorded(pid_file)
    if orphan is not None:
        await _end(orphan)
    _forget(pid_file)


def _recorded(pid_file: Path) -> psutil.Process | None:
    try:
        recorded = json.loads(pid_file.read_text(encoding="ascii"))
        process = psutil.Process(int(recorded["pid"]))
        same = abs(process.create_time() - float(recorded["created"])) < 1.0
    except (FileNotFoundError, ValueError, KeyError, TypeError, psutil.NoSuchProcess):
        return None
    return process if same and process.pid != os.getpid() else None


def _forget(pid_file: Path) -> None:
    pid_file.unlink(missing_ok=True)


async def _end(orphan: psutil.Process) -> None:
    end = time.monotonic() + _PATIENCE
    try:
        orphan.terminate()
        while orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > end:
                orphan.kill()
            await asyncio.sleep(_POLL)
    except psutil.NoSuchProcess:
        return
