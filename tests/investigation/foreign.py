"""An API server with manners of its own: what it does not follow of the usual habits is chosen by the test.

It shares no code with the other servers of these tests. It routes by paths alone, knows only plurals, and by
default does as little as a server can do: no discovery, no paging, no metadata that is not needed.
"""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from cortexops.domain.resource import JSON, KINDS

PLURALS = {kind.plural: kind.kind for kind in KINDS.values() if kind.kind != "PodMetrics"}
CLUSTER_WIDE = {kind.plural for kind in KINDS.values() if not kind.namespaced}


@dataclass
class Manners:
    """How the server differs. The defaults: selectors and names are honoured, nothing else is offered."""

    selects: bool = True  # labelSelector and fieldSelector are honoured
    refuses_fields: bool = False  # 400 for any fieldSelector
    discovery: int = 404  # status of /api, /apis, /version, /openapi
    groups: tuple[str, ...] = ()  # with discovery 200: the group versions that /apis owns up to
    without: tuple[str, ...] = ("metrics.k8s.io",)  # groups that are not served at all
    absent: int = 404  # status for what is not served
    absent_body: str = "status"  # status, plain, html, empty
    denied: Mapping[str, int] = field(default_factory=dict)  # "list pods", "get *", "get pods/log" → status
    busy_once: Mapping[str, int] = field(default_factory=dict)  # plural → status of the first answer
    retry_after: str = "1"
    hanging: tuple[str, ...] = ()
    lists: str = "both"  # both, namespaced, everywhere
    token_forever: bool = False  # every list claims that there is more, whatever was asked
    null_when_empty: bool = False
    whole_items: bool = False  # items with kind and apiVersion
    events: str = "core"  # core, new (events.k8s.io/v1 only), both
    stamps: bool = False  # log lines with times in front
    heeds_tail: bool = True
    encoding: str = ""  # gzip, chunked, close
    change: Callable[[JSON], JSON] = lambda obj: obj


class Foreign:
    """Serves objects and logs on a free loopback port, with these manners; plain HTTP unless given a context."""

    def __init__(
        self,
        objects: Iterable[JSON],
        logs: Mapping[tuple[str, str, str, bool], Any],
        manners: Manners | None = None,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.manners = manners or Manners()
        self.seen: list[tuple[str, str]] = []  # path, Authorization
        self._logs = dict(logs)
        self._tls = tls
        self._busy = dict(self.manners.busy_once)
        self._objects = [self.manners.change(copy.deepcopy(obj)) for obj in objects]
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> Foreign:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls).start()
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def kubeconfig(self, path: Path, **user: Any) -> str:
        """The barest kubeconfig there can be."""
        cluster = {"server": self.url}
        document = {
            "clusters": [{"name": "c", "cluster": cluster}],
            "contexts": [{"name": "x", "context": {"cluster": "c", **({"user": "u"} if user else {})}}],
            "current-context": "x",
        }
        if user:
            document["users"] = [{"name": "u", "user": user}]
        path.write_text(json.dumps(document), "utf-8")
        return str(path)

    # -- answering ---------------------------------------------------------------------------------

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.path_qs, request.headers.get("Authorization", "")))
        code, body = await self._decide(request)
        raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "application/json" if not isinstance(body, str) else "text/plain"
        headers = {"Content-Type": "text/html" if raw.startswith(b"<html") else kind}
        if code in (429, 503):
            headers["Retry-After"] = self.manners.retry_after
        if self.manners.encoding == "gzip":
            headers["Content-Encoding"] = "gzip"
            raw = gzip.compress(raw)
        if self.manners.encoding == "close":
            headers["Connection"] = "close"
        if self.manners.encoding != "chunked":
            return web.Response(status=code, body=raw, headers=headers)
        stream = web.StreamResponse(status=code, headers=headers)
        stream.enable_chunked_encoding()
        await stream.prepare(request)
        for start in range(0, len(raw), 700):
            await stream.write(raw[start : start + 700])
        await stream.write_eof()
        return stream

    def _absent(self) -> tuple[int, Any]:
        body: Any = {
            "status": {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404},
            "plain": "404 page not found",
            "html": "<html><body><h1>Not Found</h1></body></html>",
            "empty": "",
        }[self.manners.absent_body]
        return self.manners.absent, body

    async def _decide(self, request: web.Request) -> tuple[int, Any]:
        steps = request.path.strip("/").split("/")
        if steps[0] in ("version", "openapi") or len(steps) < 3:
            return self._discovery(steps)
        core = steps[0] == "api"
        group, rest = ("", steps[2:]) if core else (steps[1], steps[3:])
        version = "/".join(steps[1:2] if core else steps[1:3])
        if group in self.manners.without or not rest:
            return self._absent()
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        plural, name = rest[0], rest[1] if len(rest) > 1 else ""
        if plural not in PLURALS or (group == "metrics.k8s.io"):
            return self._absent()
        if plural == "events" and self.manners.events == ("new" if core else "core"):
            return self._absent()
        verb = "get" if name else "list"
        what = "/".join([plural, *rest[2:]])
        if plural in self.manners.hanging or what in self.manners.hanging:
            await asyncio.sleep(3600)
        for key in (f"{verb} {what}", f"{verb} *"):
            if key in self.manners.denied:
                return self.manners.denied[key], {"message": "no"}
        if what in self._busy:
            return self._busy.pop(what), "slow down"
        if not name:
            return self._list(request, plural, version, namespace)
        found = [o for o in self._of(plural) if o["metadata"]["name"] == name]
        found = [o for o in found if o["metadata"].get("namespace", "") == namespace]
        if not found:
            return self._absent()
        if rest[2:] == ["log"]:
            return self._log(request, namespace, name)
        return 200, self._as(found[0], version)

    def _discovery(self, steps: list[str]) -> tuple[int, Any]:
        if self.manners.discovery != 200 or steps != ["apis"]:
            return self.manners.discovery, "<html>nothing here</html>"
        groups = [
            {"name": v.partition("/")[0], "versions": [{"groupVersion": v}]} for v in self.manners.groups
        ]
        return 200, {"groups": groups}

    def _of(self, plural: str) -> list[JSON]:
        return [obj for obj in self._objects if obj["kind"] == PLURALS[plural]]

    def _as(self, obj: JSON, version: str) -> JSON:
        if version != "events.k8s.io/v1":
            return obj
        obj = copy.deepcopy(obj)
        obj["regarding"] = obj.pop("involvedObject")
        obj["note"] = obj.pop("message", "")
        obj["deprecatedCount"] = obj.pop("count", 0)
        obj["deprecatedFirstTimestamp"] = obj.pop("firstTimestamp", None)
        obj["deprecatedLastTimestamp"] = obj.pop("lastTimestamp", None)
        return obj

    def _list(self, request: web.Request, plural: str, version: str, namespace: str) -> tuple[int, Any]:
        if plural not in CLUSTER_WIDE:
            if self.manners.lists == "namespaced" and not namespace:
                return self._absent()
            if self.manners.lists == "everywhere" and namespace:
                return self._absent()
        found = self._of(plural)
        if namespace:
            found = [o for o in found if o["metadata"].get("namespace") == namespace]
        fields = request.query.get("fieldSelector", "")
        if fields and self.manners.refuses_fields:
            return 400, {"message": "field label not supported"}
        if self.manners.selects:
            labels = request.query.get("labelSelector", "")
            found = [o for o in found if _labelled(labels, o) and _fielded(fields, self._as(o, version))]
        items: Any = [self._as(o, version) for o in found]
        if not self.manners.whole_items:
            items = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in items]
        answer: JSON = {"items": (items or None) if self.manners.null_when_empty else items}
        if self.manners.token_forever:
            answer["metadata"] = {"continue": "more"}
        return 200, answer

    def _log(self, request: web.Request, namespace: str, pod: str) -> tuple[int, Any]:
        container, previous = request.query.get("container", ""), request.query.get("previous") == "true"
        if not container:
            return 400, "a container name must be specified"
        text = self._logs.get((namespace, pod, container, previous))
        if text is None:
            return (400, "previous terminated container not found") if previous else (200, "")
        lines = (text if isinstance(text, str) else text.decode()).splitlines()
        if self.manners.heeds_tail:
            lines = lines[-int(request.query.get("tailLines", "1000")) :]
        if self.manners.stamps:
            lines = [f"2026-03-10T13:59:{n % 60:02d}.123456789Z {line}" for n, line in enumerate(lines)]
        return 200, "\n".join(lines) + "\n"


def _labelled(selector: str, obj: JSON) -> bool:
    labels = obj["metadata"].get("labels") or {}
    if " in (" in selector:
        key, _, values = selector.partition(" in (")
        return labels.get(key) in values.rstrip(")").split(",")
    return all(
        labels.get(part.partition("=")[0]) == part.partition("=")[2].lstrip("=")
        for part in selector.split(",")
        if "=" in part
    )


def _fielded(selector: str, obj: JSON) -> bool:
    for part in selector.split(","):
        path, equals, value = part.partition("=")
        found: Any = obj
        for step in path.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        if equals and found != value:
            return False
    return True
