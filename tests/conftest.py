"""Fixtures that every folder may use. The engines are real; only Slack, PagerDuty and models are faked."""

from __future__ import annotations

from tests.support.controlplane import control_plane
from tests.support.engines import (
    engines,
    module_nats_server,
    nats_server,
    postgres_database,
    task_queue_prefix,
)

__all__ = [
    "control_plane",
    "engines",
    "module_nats_server",
    "nats_server",
    "postgres_database",
    "task_queue_prefix",
]
