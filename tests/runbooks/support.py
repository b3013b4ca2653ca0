"""Runbooks and what they are tried on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import yaml
from aiohttp import web

from activities.actions import ACTIONS
from activities.gathering import Reads
from activities.runbooks import Runbooks
from activities.runbooks.building import action_specs
from cortexops.domain.resource import ResourceRef
from cortexops.domain.runbook import Origin, Problem, Runbook
from cortexops.domain.runbook_document import read_runbook
from cortexops.domain.runbook_match import Subject
from cortexops.domain.signal import Severity, Signal
from tests.investigation.objects import CLUSTER, NOW

SPECS = action_specs()


def document(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "schema": "cortexops.runbook/v1",
        "id": "mine",
        "title": "Mine",
        "version": "1",
        "match": {"alerts": ["Broken"]},
        "steps": list(steps) or [note()],
    }
    return base | more


def note(id: str = "look", text: str = "Look at it.", **more: Any) -> dict[str, Any]:
    return {"id": id, "title": "Look", "kind": "note", "text": text, **more}


def check(id: str = "ready", **more: Any) -> dict[str, Any]:
    asked = {} if {"object", "count", "metric", "logs", "events"} & more.keys() else {"object": replicas()}
    return {"id": id, "title": f"Is it {id}?", "kind": "check", **asked, **more}


def action(id: str = "act", name: str = "restart_workload", **more: Any) -> dict[str, Any]:
    return {"id": id, "title": "Act", "kind": "action", "action": name, **more}


def replicas(field: str = "/status/readyReplicas") -> dict[str, Any]:
    return {"kind": "Deployment", "name": "api", "field": field}


def made(*steps: dict[str, Any], origin: Origin = Origin.FOLDER, **more: Any) -> Runbook:
    runbook, problems = read_runbook(document(*steps, **more), SPECS, source="mine.yaml", origin=origin)
    assert runbook is not None, [str(problem) for problem in problems]
    return runbook


def problems(*steps: dict[str, Any], **more: Any) -> list[Problem]:
    return read_runbook(document(*steps, **more), SPECS, source="mine.yaml")[1]


def raw(*steps: dict[str, Any], **more: Any) -> bytes:
    return yaml.safe_dump(document(*steps, **more)).encode()


def signal(
    name: str = "Broken",
    kind: str = "Deployment",
    object_name: str = "api",
    *,
    cluster: str = CLUSTER,
    severity: Severity = Severity.HIGH,
    at: datetime = NOW,
    **labels: str,
) -> Signal:
    resource = ResourceRef(
        cluster=cluster, kind=kind, namespace="" if kind == "Node" else "shop", name=object_name
    )
    return Signal(
        source="alertmanager",
        cluster=cluster,
        name=name,
        severity=severity,
        resource=resource,
        labels=labels,
        started_at=at,
    ).sealed()


def subject(*signals: Signal, **more: Any) -> Subject:
    given = signals or (signal(),)
    return Subject(given[0].resource, given, **more)


class Away:
    """A cluster that must not be asked: what is needed is in the scene."""

    name = CLUSTER
    requests = 0


def reads(cluster: Any = None, **backends: Any) -> Reads:
    where: Any = cluster or Away()
    return Reads(where, backends)


def runbooks(*given: Runbook, source: Any = None, **more: Any) -> Runbooks:
    return Runbooks(given, ACTIONS, source, **more)


@asynccontextmanager
async def server(answer: Callable[[web.Request], Any]) -> AsyncIterator[tuple[str, list[web.Request]]]:
    asked: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        found = answer(request)
        response: web.StreamResponse = await found if hasattr(found, "__await__") else found
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()
