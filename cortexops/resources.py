"""Finds the files that ship with the product: in a wheel beside the package, in a checkout at its root."""

from __future__ import annotations

from pathlib import Path

from cortexops.domain.errors import PermanentError

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str, witness: str) -> Path:
    for candidate in (_PACKAGE.parent / name, _PACKAGE / "_data" / name):
        if (candidate / witness).exists():
            return candidate
    raise PermanentError(f"{name}: the folder is missing from this installation; install cortexops again")


def policies_path() -> Path:
    """The shipped policy pack. Raises `PermanentError` when it is missing."""
    return _folder("policies", "decision.rego")


def migrations_path() -> Path:
    """The Alembic migrations. Raises `PermanentError` when they are missing."""
    return _folder("migrations", "env.py")
