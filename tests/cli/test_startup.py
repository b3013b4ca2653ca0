"""What help loads. Time depends on the machine; what is imported does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import get_args, get_type_hints

import pytest

from cortexops.cli import audit, autonomy
from cortexops.domain.audit_export import ExportFormat
from cortexops.domain.autonomy import Level

HEAVY = {
    "aiohttp", "alembic", "asyncio", "cortexops.adapters", "cortexops.metrics", "cortexops.settings",
    "cortexops.telemetry", "fastapi", "httpx", "kubernetes_asyncio", "nats", "prometheus_client", "psycopg",
    "pydantic", "qdrant_client", "sqlalchemy", "structlog", "temporalio", "yaml",
}  # fmt: skip
_PROGRAM = """
import json, sys
from {module} import main
sys.argv = ["program", *{arguments!r}]
try:
    main()
except SystemExit as ended:
    code = ended.code
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


def loaded(module: str, *arguments: str) -> set[str]:
    """The modules that the program has loaded when it ends."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CORTEXOPS_", "COV"))}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(module=module, arguments=arguments)],
        env=clean, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "Usage" in done.stdout or arguments == ("--version",)
    code, modules = json.loads(done.stderr)
    assert code in (0, None)
    return set(modules)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("cortexops.cli.main", ("--help",)), ("cortexops.cli.main", ("--version",)),
        ("cortexops.cli.kubectl", ("--help",)),
    ],
)  # fmt: skip
def test_help_loads_nothing_that_only_commands_need(module: str, arguments: tuple[str, ...]) -> None:
    assert loaded(module, *arguments) & HEAVY == set()


def test_choices_that_are_written_out_are_those_of_the_domain() -> None:
    """They are written out so that help need not load the domain."""
    formats = get_type_hints(audit.export)["format"]
    levels = get_type_hints(autonomy.set_)["level"]
    assert set(get_args(formats)) == set(ExportFormat)
    assert set(get_args(levels)) == set(Level)


def test_a_command_logs_to_stderr_and_prints_only_its_answer() -> None:
    program = (
        "import logging, sys; from cortexops.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    print([h.stream is sys.stderr for h in logging.getLogger().handlers], file=sys.stderr)"
    )
    away = {**os.environ, "CORTEXOPS_POSTGRES__DSN": "postgresql+psycopg://nobody@127.0.0.1:9/none"}
    done = subprocess.run(
        [sys.executable, "-c", program, "incidents", "list", "-o", "json"],
        env=away, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.rstrip().endswith("[True]")
