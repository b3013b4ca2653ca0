"""Finds the files that ship with the product: in a wheel below the package, in a checkout at its root."""

from __future__ import annotations

from pathlib import Path

from cortexops.domain.errors import PermanentError

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str, witness: str) -> Path:
    """Below the package first: beside an installed one, a folder of that name belongs to somebody else."""
    for candidate in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if (candidate / witness).exists():
            return candidate
    raise PermanentError(f"{name}: the folder is missing from this installation; install cortexops again")


def policies_path() -> Path:
    """The shipped policy pack. Raises `PermanentError` when it is missing."""
    return _folder("policies", "decision.rego")


def runbooks_path() -> Path:
    """The shipped runbooks. Raises `PermanentError` when they are missing."""
    return _folder("runbooks", "kube-pod-crash-looping.yaml")


def migrations_path() -> Path:
    """The Alembic migrations. Raises `PermanentError` when they are missing."""
    return _folder("migrations", "env.py")
