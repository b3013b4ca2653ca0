"""Every time-out and retry of every activity, named by the kind of work."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.common import RetryPolicy

from cortexops.contracts.incident import TaskQueue
from cortexops.domain.scraping import MOST_EXTENSION

_PATIENT = RetryPolicy(
    initial_interval=timedelta(milliseconds=500),
    backoff_coefficient=2,
    maximum_interval=timedelta(seconds=30),
)

BOOKKEEPING: dict[str, Any] = {
    "start_to_close_timeout": timedelta(seconds=15),
    "retry_policy": _PATIENT,
}
"""Local activities on the database and the policy engine: retried until the database is back, since
nothing may happen unrecorded. They leave one event each in the history."""

DRY_RUN: dict[str, Any] = {
    "task_queue": TaskQueue.REMEDIATION,
    "start_to_close_timeout": timedelta(seconds=30),
    "schedule_to_close_timeout": timedelta(minutes=10),
    "retry_policy": _PATIENT,
}

APPLY: dict[str, Any] = {
    "task_queue": TaskQueue.REMEDIATION,
    "start_to_close_timeout": timedelta(seconds=60),
    "heartbeat_timeout": timedelta(seconds=10),
    "schedule_to_close_timeout": timedelta(minutes=30),
    "retry_policy": _PATIENT,
}
"""A worker that dies is noticed after the heartbeat time-out; the next one reads ledger and object."""

REMEMBER: dict[str, Any] = {
    "task_queue": TaskQueue.INVESTIGATION,
    "start_to_close_timeout": timedelta(seconds=20),
    "schedule_to_close_timeout": timedelta(seconds=60),
    "retry_policy": RetryPolicy(maximum_attempts=2),
}
"""Memory is a help, never a condition."""


def investigation(budget_seconds: float) -> dict[str, Any]:
    """The budget bounds one run; the API server may be away for ten minutes before a person is called."""
    return {
        "task_queue": TaskQueue.INVESTIGATION,
        "start_to_close_timeout": timedelta(seconds=budget_seconds + 30),
        "heartbeat_timeout": timedelta(seconds=15),
        "schedule_to_close_timeout": timedelta(seconds=budget_seconds + 600),
        "retry_policy": _PATIENT,
    }


READING_SECONDS = 30.0
"""Of further reading that a model asks for."""

KEEP_DIAGNOSIS: dict[str, Any] = {
    "task_queue": TaskQueue.INVESTIGATION,
    "start_to_close_timeout": timedelta(seconds=15),
    "schedule_to_close_timeout": timedelta(seconds=60),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=500),
        maximum_interval=timedelta(seconds=10),
        non_retryable_error_types=["NotFoundError"],  # investigators of a version that knows no models
    ),
}


def thinking(seconds: float) -> dict[str, Any]:
    """One call of a model. Only a worker that dies makes it run again; nobody waits long for a free one."""
    return {
        "task_queue": TaskQueue.REASONING,
        "schedule_to_start_timeout": timedelta(seconds=20),
        "start_to_close_timeout": timedelta(seconds=seconds + 10),
        "heartbeat_timeout": timedelta(seconds=15),
        "schedule_to_close_timeout": timedelta(seconds=2 * seconds + 50),
        "retry_policy": RetryPolicy(maximum_attempts=3, non_retryable_error_types=["NotFoundError"]),
    }


def reading(seconds: float) -> dict[str, Any]:
    return {
        "task_queue": TaskQueue.INVESTIGATION,
        "start_to_close_timeout": timedelta(seconds=seconds + 10),
        "heartbeat_timeout": timedelta(seconds=15),
        "schedule_to_close_timeout": timedelta(seconds=2 * seconds + 50),
        "retry_policy": RetryPolicy(maximum_attempts=2),
    }


def verification(window_seconds: float) -> dict[str, Any]:
    """A verification that a crash interrupts is measured anew; three windows at most, each as long as metrics
    that are seldom scraped may make it."""
    longest = window_seconds + MOST_EXTENSION
    return {
        "task_queue": TaskQueue.REMEDIATION,
        "start_to_close_timeout": timedelta(seconds=longest + 60),
        "heartbeat_timeout": timedelta(seconds=15),
        "schedule_to_close_timeout": timedelta(seconds=3 * longest + 300),
        "retry_policy": _PATIENT,
    }
