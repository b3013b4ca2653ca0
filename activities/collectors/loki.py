"""Log lines from Loki, where the API server gave none: of pods that are gone, or whose logs may not be read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from activities.collectors import collector
from activities.gathering import Gathering
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.resource import ResourceRef

_BEFORE, _AFTER = timedelta(minutes=30), timedelta(minutes=5)
_LINES = 300


@collector("loki", wave=3)
async def collect(gathering: Gathering) -> None:
    backend = gathering.backend("loki")
    heard = {log.pod for log in gathering.logs}
    if backend is None:
        return
    for root in [root for root in gathering.roots if root.namespace][:2]:
        own = [ref for ref, _ in gathering.pods_of(root)]
        if any(ref in heard for ref in own):
            continue
        names = "|".join(re.escape(ref.name) for ref in own[:10]) or f"{re.escape(root.name)}-.*"
        quoted = names.replace("\\", "\\\\")
        at = min((signal.started_at for signal in gathering.signals), default=datetime.now(UTC))
        answer = await gathering.query(
            backend,
            "query loki for logs",
            "/loki/api/v1/query_range",
            {
                "query": f'{{namespace="{root.namespace}",pod=~"{quoted}"}}',
                "start": str(int((at - _BEFORE).timestamp() * 1e9)),
                "end": str(int((at + _AFTER).timestamp() * 1e9)),
                "limit": str(_LINES),
                "direction": "backward",
            },
        )
        if answer is not None and not _keep(gathering, root, answer):
            gathering.no_data("query loki for logs")


def _keep(gathering: Gathering, root: ResourceRef, answer: dict[str, object]) -> bool:
    """Put the streams into the scene as logs, the oldest line first; whether there were any."""
    kept = False
    for stream in objects(answer, "data", "result")[:10]:
        labels = mapping(stream, "stream")
        pairs = [pair for pair in stream.get("values") or [] if isinstance(pair, list) and len(pair) >= 2]
        pairs.sort(key=lambda pair: str(pair[0]))
        pod = gathering.ref("Pod", root.namespace, text(labels, "pod"))
        lines = [str(pair[1]) for pair in pairs]
        if pod.name and lines:
            gathering.add_log(pod, text(labels, "container"), previous=False, text="\n".join(lines))
            kept = True
    return kept
