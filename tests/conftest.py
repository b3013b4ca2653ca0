"""Fixtures that every folder may use. The engines are real; only Slack, PagerDuty and models are faked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.controlplane import control_plane
from tests.support.engines import (
    engines,
    module_nats_server,
    nats_server,
    postgres_database,
    task_queue_prefix,
)

# The same examples on every run, so that a red run means that the change broke something. To look for new
# counter-examples: HYPOTHESIS_PROFILE=explore make test
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=3000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

# Tests speak to this machine alone, and trust only authorities of their own: loading all public ones costs 20 ms
# for each client and in each process that is started. The file holds a certificate that expired long ago.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "support" / "nobody.pem")

# Many a container sets this; each of the hundreds of processes that tests start would compile all code for itself.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first (needs --no-loadscope-reorder): else a worker ends with them, alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


__all__ = [
    "control_plane",
    "engines",
    "module_nats_server",
    "nats_server",
    "postgres_database",
    "task_queue_prefix",
]
