"""Whose log is asked for: the checks before a log is read."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cortexops.domain.resource import JSON
from sandbox.cluster.errors import bad_request
from sandbox.cluster.logs import LogOptions, LogSource


def open_log(source: LogSource, pod: JSON, options: LogOptions) -> AsyncIterator[bytes]:
    """The log of one container of a pod. Raises `ApiError` (400) when it is not clear which, or too early."""
    name = str(pod["metadata"]["name"])
    spec = pod.get("spec") or {}
    main = [str(c.get("name")) for c in spec.get("containers") or []]
    starters = [str(c.get("name")) for c in spec.get("initContainers") or []]
    container = options.container
    if not container:
        if len(main) != 1 or starters:
            inits = f" or one of the init containers: [{' '.join(starters)}]" if starters else ""
            raise bad_request(
                f"a container name must be specified for pod {name}, choose one of: [{' '.join(main)}]{inits}"
            )
        container = main[0]
    if container not in main + starters:
        raise bad_request(f"container {container} is not valid for pod {name}")
    if not options.previous:
        _started(pod, container)
    return source.read(pod, options._replace(container=container))


def _started(pod: JSON, container: str) -> None:
    status = pod.get("status") or {}
    found = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    for item in found:
        if item.get("name") != container:
            continue
        waiting = (item.get("state") or {}).get("waiting")
        if waiting and not item.get("lastState"):
            raise bad_request(
                f'container "{container}" in pod "{pod["metadata"]["name"]}" is waiting to start: '
                f"{waiting.get('reason') or 'ContainerCreating'}"
            )
