"""What could be done if a model put another hypothesis first: nothing that the evidence does not carry."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from activities.actions import propose
from activities.investigate import alternatives_for, investigate
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.domain.diagnosis import ROOT_CAUSE_FROM
from cortexops.domain.reasoning_bounds import ids
from ingest.decode import decode_file
from tests.evals.api import Api
from tests.evals.run import CLUSTER, load

CLOSE_RACES = ("celery-memory-grows-every-six-hours", "memory-leak-steady")


async def test_no_action_is_feasible_on_a_hypothesis_that_only_a_model_prefers() -> None:
    seen = 0
    for incident in map(load, CLOSE_RACES):
        with tempfile.TemporaryDirectory() as place:
            async with Api(incident.objects, incident.logs, **incident.server) as api:
                signals = decode_file(
                    json.dumps(incident.payload), "auto", CLUSTER, datetime.now(UTC)
                ).signals
                cluster = await KubernetesCluster.connect(CLUSTER, api.kubeconfig(Path(place) / "config"))
                try:
                    scene, diagnosis = await investigate(
                        cluster, signals, target=signals[0].resource, environment="", now=datetime.now(UTC)
                    )
                finally:
                    await cluster.close()
        for name, candidates in alternatives_for(propose, scene, diagnosis).items():
            if ids(diagnosis)[name].confidence < ROOT_CAUSE_FROM:
                seen += len(candidates)
                assert not [c.action for c in candidates if c.feasible], (incident.name, name)
    assert seen
