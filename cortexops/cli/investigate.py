"""One look at what is wrong, by an alert or by the name of an object, without any server."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from activities.actions import propose
from activities.oneshot import investigate_payload
from activities.reasoned import Assistant
from activities.reasoning import Reasoner
from activities.runbooks.building import build_runbooks
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.adapters.model import build_model
from cortexops.cli.common import fail, printable, settings
from cortexops.domain.errors import InvalidInput
from cortexops.domain.reasoning import ModelLimits
from cortexops.domain.resource import KINDS, ResourceRef
from cortexops.domain.signal import Signal, SignalStatus, sealed_signal
from ingest.decode import decode_file
from ingest.targets import TargetFinder

_SHORT = {
    "po": "Pod", "deploy": "Deployment", "sts": "StatefulSet", "ds": "DaemonSet", "rs": "ReplicaSet", "svc": "Service",
    "ing": "Ingress", "no": "Node", "ns": "Namespace", "pvc": "PersistentVolumeClaim", "cm": "ConfigMap",
    "hpa": "HorizontalPodAutoscaler", "cj": "CronJob", "pdb": "PodDisruptionBudget", "quota": "ResourceQuota",
}  # fmt: skip
"""As `kubectl api-resources` abbreviates them."""


def signals_of(alert: str, source: str, cluster: str) -> list[Signal]:
    """Those of a file, or of standard input for `-`. Exits with 2 when there is none; says what it leaves out."""
    try:
        text = sys.stdin.read() if alert == "-" else Path(alert).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"--alert {alert}: {error}", 2)
    parsed = decode_file(text, source, cluster, datetime.now(UTC))
    for rejection in parsed.rejected:
        typer.echo(f"item {rejection.index}: {rejection.field}: {rejection.message}", err=True)
    for ignored in parsed.ignored:
        typer.echo(f"item {ignored.index}: ignored: {ignored.detail}", err=True)
    if not parsed.signals:
        fail("there is no signal in it that could be investigated", 2)
    return list(parsed.signals)


def signal_about(target: str, namespace: str, cluster: str) -> Signal:
    """A signal that asks what is wrong with `KIND/NAME`. Raises `InvalidInput` for another form or kind."""
    word, _, name = target.partition("/")
    lowered = word.lower()
    kind = _SHORT.get(lowered) or next(
        (kind for kind, each in KINDS.items() if lowered in (kind.lower(), each.plural)), None
    )
    if not name or kind is None:
        known = ", ".join(sorted(_SHORT.values()))
        raise InvalidInput(
            "target", f"{target!r}: say KIND/NAME, as in deployment/orders (among others: {known})"
        )
    where = namespace if KINDS[kind].namespaced else ""
    return sealed_signal(
        source="cli",
        name="Question",
        resource=ResourceRef(cluster=cluster, kind=kind, namespace=where, name=name),
        status=SignalStatus.FIRING,
        labels={},
        started_at=datetime.now(UTC),
    )


async def look(
    asked: list[Signal],
    cluster: str,
    *,
    kubeconfig: Path | None,
    context: str | None,
    prometheus: str | None,
    loki: str | None,
    runbooks: Path | None,
    with_model: bool,
) -> dict[str, Any]:
    """The report on these signals. Exits with 2 when the objects of none of them can be found."""
    model_settings, consulted = settings().model, settings().runbooks
    model = build_model(model_settings) if with_model else None
    client = await KubernetesCluster.connect(
        cluster, kubeconfig=str(kubeconfig) if kubeconfig else None, context=context
    )
    try:
        signals, lost = await TargetFinder({signal.cluster: client for signal in asked}).found(asked)
        for signal, error in lost:
            typer.echo(f"alert {printable(signal.name)}: {printable(str(error))}", err=True)
        if not signals:
            fail("there is no signal in it whose object could be found", 2)
        limits = model_settings.limits() or ModelLimits()
        return await investigate_payload(
            client,
            signals,
            datetime.now(UTC),
            propose,
            prometheus=prometheus,
            loki=loki,
            runbooks=build_runbooks(consulted.model_copy(update={"path": runbooks} if runbooks else {})),
            assistant=Assistant(Reasoner(model, model_settings), limits) if model else None,
        )
    finally:
        await client.close()
        if model is not None:
            await model.close()
