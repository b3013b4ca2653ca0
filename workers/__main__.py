"""`python -m workers ROLE…`: one process with these roles."""

from __future__ import annotations

import asyncio
import gc
import json
import sys

from cortexops.domain.errors import CortexError
from cortexops.settings import load_settings
from cortexops.telemetry import configure_logging
from workers.app import WorkerApp, run_until_signal
from workers.roles import ROLES

READY = "ready "
"""A line that starts so, followed by the URLs as JSON, says that the process serves."""


def main(arguments: list[str]) -> int:
    """Exit 0 after a signal, 1 when it could not start, 2 for a wrong command line."""
    unknown = [role for role in arguments if role not in ROLES]
    if not arguments or unknown:
        sys.stderr.write(f"usage: python -m workers ROLE…; roles are {', '.join(ROLES)}\n")
        return 2
    try:
        settings = load_settings()
        configure_logging(settings.log.level, settings.log.format, role="+".join(arguments))
        asyncio.run(run_until_signal(WorkerApp(settings, arguments), _ready))
    except CortexError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _ready(urls: dict[str, str]) -> None:
    # What is loaded by now stays: the collector need not look at it again, nor at every storm of small objects.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    sys.stdout.write(f"{READY}{json.dumps(urls)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
