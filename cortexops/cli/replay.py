"""Replaying recorded histories."""

from __future__ import annotations

from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from workers.runner import sandbox
from workflows.incident import IncidentWorkflow


async def replay_history(workflow_id: str, history: str) -> str | None:
    """None when the history replays, else why it does not."""
    replayer = Replayer(
        workflows=[IncidentWorkflow], workflow_runner=sandbox(), data_converter=pydantic_data_converter
    )
    result = await replayer.replay_workflow(
        WorkflowHistory.from_json(workflow_id, history), raise_on_replay_failure=False
    )
    return str(result.replay_failure) if result.replay_failure is not None else None
