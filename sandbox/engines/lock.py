"""One owner per data folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cortexops.domain.errors import Conflict


class DataLock:
    """An exclusive lock on a data folder, held until `release` or the end of the process.

    The kernel drops it with the process, so a crash leaves no stale lock; the process id inside the file is
    only there to be named to whoever comes second.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "engines.lock"
        self._data_dir = data_dir
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock. Raises Conflict naming the process that holds it."""
        if self._descriptor is not None:
            raise Conflict(f"{self._data_dir} is already in use by this process (pid {os.getpid()})")
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise Conflict(
                f"{self._data_dir} is already in use by pid {holder}; "
                "stop that process or choose another data folder"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock up; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
