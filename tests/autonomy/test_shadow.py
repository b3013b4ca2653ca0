"""What people did instead, judged from the object: by hand-made ones, and by one in a cluster that people change."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.adapters.shadowing import compared
from cortexops.domain.autonomy import Ladder
from cortexops.domain.change import DiffLine
from cortexops.domain.guardrails import Guardrails
from cortexops.domain.ledger import LedgerState
from cortexops.domain.policy import Effect
from cortexops.domain.shadow import Comparison, Suggestion, compare, counted
from sandbox.cluster.clients import ControllerClient
from sandbox.cluster.simulation import SimulatedCluster
from tests.autonomy.support import NOW, an_action, ask, changed
from tests.support.postgres import opened

HOUR = timedelta(hours=1)
LIMIT = "/spec/template/spec/containers/0/resources/limits/memory"
OWNED: dict[str, Any] = {
    "f:spec": {
        "f:template": {
            "f:spec": {"f:containers": {'k:{"name":"api"}': {"f:resources": {"f:limits": {"f:memory": {}}}}}}
        }
    }
}


def suggestion(*lines: DiffLine) -> Suggestion:
    return Suggestion(
        incident_id="INC-1",
        at=NOW,
        until=NOW + 24 * HOUR,
        action="adjust_resources Deployment shop/api",
        effect=Effect.DENY,
        reasons=("observe_only",),
        planned=lines or (DiffLine(path=LIMIT, before='"64Mi"', after='"128Mi"'),),
    )


def live(
    memory: str = "64Mi", *writes: tuple[str, datetime, dict[str, Any]], created: datetime = NOW - HOUR
) -> Any:
    fields = [
        {"manager": manager, "operation": "Update", "time": at.isoformat(), "fieldsV1": owned}
        for manager, at, owned in writes
    ]
    return {
        "metadata": {"creationTimestamp": created.isoformat(), "managedFields": fields},
        "spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"memory": memory}}}]}}},
    }


BEFORE = ("kubectl", NOW - HOUR, OWNED)


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (live("64Mi", BEFORE), Comparison.NOTHING),
        (live("128Mi", BEFORE, ("kubectl-edit", NOW + HOUR, OWNED)), Comparison.SAME),
        (live("256Mi", BEFORE, ("kubectl-edit", NOW + HOUR, OWNED)), Comparison.OTHER),
        (
            live("64Mi", BEFORE, ("kubectl-edit", NOW + HOUR, {"f:spec": {"f:replicas": {}}})),
            Comparison.OTHER,
        ),
        # the value is there, but whoever wrote since then wrote something else
        (
            live("128Mi", BEFORE, ("kubectl-edit", NOW + HOUR, {"f:spec": {"f:replicas": {}}})),
            Comparison.OTHER,
        ),
        (live("64Mi", BEFORE, ("kube-controller-manager", NOW + HOUR, {})), Comparison.NOTHING),
        (live("64Mi", BEFORE, ("cortexops-remediator", NOW + HOUR, OWNED)), Comparison.NOTHING),
        (live("128Mi", BEFORE, ("kubectl-edit", NOW + 48 * HOUR, OWNED)), Comparison.UNKNOWN),
        (live("128Mi", created=NOW + HOUR), Comparison.UNKNOWN),
        (live("128Mi"), Comparison.UNKNOWN),
        (None, Comparison.UNKNOWN),
        ({}, Comparison.UNKNOWN),
    ],
)
def test_only_what_the_object_shows_counts(obj: Any, expected: Comparison) -> None:
    found = compare(suggestion(), obj)
    assert found.comparison is expected, found.detail
    assert found.detail


def test_a_status_is_nobodys_decision() -> None:
    obj = live("64Mi", BEFORE)
    obj["metadata"]["managedFields"].append(
        {"manager": "somebody", "subresource": "status", "time": (NOW + HOUR).isoformat()}
    )
    assert compare(suggestion(), obj).comparison is Comparison.NOTHING


def test_masked_values_cannot_be_compared() -> None:
    line = DiffLine(path=LIMIT, before='"64Mi"', after='"[redacted:by_name]"')
    obj = live("128Mi", BEFORE, ("kubectl", NOW + HOUR, OWNED))
    assert compare(suggestion(line), obj).comparison is Comparison.UNKNOWN


class Kubectl(ControllerClient):
    """Somebody with kubectl."""

    _manager = "kubectl-edit"


DEPLOYMENT = {
    "metadata": {"name": "api"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "api"}},
        "template": {
            "metadata": {"labels": {"app": "api"}},
            "spec": {
                "containers": [{"name": "api", "image": "api:1", "resources": {"limits": {"memory": "64Mi"}}}]
            },
        },
    },
}


async def test_what_people_did_in_a_cluster_is_compared_with_what_was_suggested(
    store: PostgresStore, tmp_path: Path
) -> None:
    shadow = Guardrails(ladder=Ladder(shadow=True))
    line = DiffLine(path=LIMIT, before='"64Mi"', after='"128Mi"')
    done = {"api": "128Mi", "web": "512Mi", "db": None}
    async with SimulatedCluster(nodes=1, speed=50) as simulation:
        people = await Kubectl.connect("east", simulation.kubeconfig(tmp_path / "kubeconfig"))
        await people.create("Namespace", "", {"metadata": {"name": "shop"}})
        for name in done:
            await people.create("Deployment", "shop", {**DEPLOYMENT, "metadata": {"name": name}})
        await asyncio.sleep(1.1)  # the cluster tells whole seconds
        for name in done:
            incident = await opened(store, name)
            action = an_action(name, type_="adjust_resources")
            decision = await ask(
                store,
                incident,
                rails=shadow,
                action=action,
                diff=(line,),
                asked_at=datetime.now(UTC),
            )
            assert decision.reasons == ("observe_only",)
        await asyncio.sleep(1.1)
        for name, memory in done.items():
            if memory is not None:
                patch = [{"op": "replace", "path": LIMIT, "value": memory}]
                await people.patch("Deployment", "shop", name, patch)
        found = await compared(store, {"east": people}, NOW - HOUR)
        await people.close()
    told = {one.suggestion.action.split("/")[1].split(" ")[0]: one.comparison for one in found}
    assert told == {"api": Comparison.SAME, "web": Comparison.OTHER, "db": Comparison.NOTHING}
    assert counted(found) == {"same": 1, "other": 1, "nothing": 1, "unknown": 0}


async def test_an_incident_in_which_we_acted_is_no_suggestion(store: PostgresStore) -> None:
    incident = await changed(store, "acted", LedgerState.APPLIED, LedgerState.VERIFIED)
    await ask(store, incident)
    assert await compared(store, {}, NOW - HOUR) == []
