"""What a program says it has none left of: file handles, workers, connections."""

from __future__ import annotations

from cortexops.domain.kubernetes.remembered import Remembered

_FILES = Remembered(r"(?i)(too many open files|\bemfile\b)")
_WORKERS = Remembered(
    r"(?i)(pm\.max_children|maxrequestworkers|all threads \(\d+\) are|thread ?pool starvation)"
)


def of_files(line: str) -> bool:
    """Whether it is file handles that have run out."""
    return _FILES.search(line)


def of_workers(line: str) -> bool:
    """Whether it is the processes or threads that answer requests."""
    return _WORKERS.search(line)


def runs_out(line: str) -> str:
    """The same in words, connections where it is neither."""
    if of_files(line):
        return "runs out of file handles"
    return "has no worker left to answer with" if of_workers(line) else "runs out of connections"
