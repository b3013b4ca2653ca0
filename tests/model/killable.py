"""An investigator as a process of its own, to be killed: `python -m tests.model.killable ADDRESS MODEL_URL`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from activities.reasoning import ReasoningActivities
from cortexops.contracts.incident import TaskQueue
from cortexops.settings_model import ModelSettings
from tests.model.support import PRICED, Diagnoses, assistant_for
from tests.model.world import thinking_world


async def main(address: str, url: str) -> None:
    stage = PRICED.model_copy(update={"timeout_seconds": 60})
    stages: Any = dict.fromkeys(("extract", "rank", "explain", "narrate"), stage)
    world = thinking_world()
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    async with assistant_for(ModelSettings(base_url=url, name="small", **stages)) as assistant:
        store: Any = Diagnoses()
        own = ReasoningActivities(assistant.reasoner, {}, store)
        print("ready", flush=True)
        served: dict[str, list[Any]] = {
            TaskQueue.INVESTIGATION: [
                world.investigate, world.remember, own.more_evidence, own.keep_diagnosis,
            ],
            TaskQueue.REASONING: [own.think],
        }  # fmt: skip
        await asyncio.gather(
            *(Worker(client, task_queue=queue, activities=found).run() for queue, found in served.items())
        )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
