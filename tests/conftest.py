"""Fixtures that every folder may use. The engines are real; only Slack, PagerDuty and models are faked."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from tests.support.controlplane import control_plane
from tests.support.engines import (
    engines,
    module_nats_server,
    nats_server,
    postgres_database,
    task_queue_prefix,
)
from tests.support.postgres import migrated_database, migrated_template, store

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


# A control plane costs as much as a worker: these files share one, and with it a worker.
_ON_A_CONTROL_PLANE = (
    "tests/conformance/kubernetes_api/",
    "tests/remediation/",
    "tests/cli/test_cli.py",
    "tests/deploy/test_helm.py",
    "tests/investigation/test_real_control_plane.py",
    "tests/sandbox/test_real_control_plane.py",
)


class _Scheduling(LoadFileScheduling):  # type: ignore[misc]  # the package has no types
    """A file is for one worker, and all files that need the real control plane are for the same one."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_ON_A_CONTROL_PLANE):
            return "on a control plane"
        file: str = super()._split_scope(nodeid)
        return file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    return _Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is long first (needs --no-loadscope-reorder): else a worker ends with it, alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (not item.nodeid.startswith(_ON_A_CONTROL_PLANE), item.path not in slow))


# Fixtures of the session are imported here alone: each further import would be another fixture, and with it another
# control plane or another template, up until the end.
__all__ = [
    "control_plane",
    "engines",
    "migrated_database",
    "migrated_template",
    "module_nats_server",
    "nats_server",
    "postgres_database",
    "store",
    "task_queue_prefix",
]
