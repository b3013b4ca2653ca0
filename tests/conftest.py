"""Fixtures that every folder may use. The engines are real; only Slack, PagerDuty and models are faked."""

from __future__ import annotations

import os

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

__all__ = [
    "control_plane",
    "engines",
    "module_nats_server",
    "nats_server",
    "postgres_database",
    "task_queue_prefix",
]
