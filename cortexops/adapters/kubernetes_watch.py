"""One line of a watch stream as an event, or as the error that it reports."""

from __future__ import annotations

from cortexops.adapters.kubernetes_errors import Target, error_for
from cortexops.adapters.kubernetes_transport import decode
from cortexops.ports.cluster import WatchEvent


def watch_event(line: bytes, target: Target) -> WatchEvent:
    """The event. Raises what an ERROR line stands for: `Conflict` for 410, `TemporaryError` for 429 and 5xx.

    By then the answer's own status was 200 long ago, so this is the only place where the server can say it.
    """
    decoded = decode(line, target)
    body = decoded.get("object")
    if not isinstance(body, dict):
        body = {}
    if decoded.get("type") == "ERROR":
        code = body.get("code")
        raise error_for(code if isinstance(code, int) else 500, body, target, writing=False)
    return WatchEvent(str(decoded.get("type")), body)
