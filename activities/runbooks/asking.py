"""The questions of a runbook's checks, answered from the scene and from bounded reads. Changes nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from activities.gathering import MOST_LISTED, Reads, slim
from cortexops.domain.change import lookup
from cortexops.domain.errors import CortexError, Forbidden, InvalidInput, NotFound
from cortexops.domain.evidence import EvidenceKind, GapReason
from cortexops.domain.findings import roots
from cortexops.domain.kubernetes import commands, meta
from cortexops.domain.kubernetes.values import objects
from cortexops.domain.prometheus import sample_value
from cortexops.domain.redaction import redact_value
from cortexops.domain.resource import JSON, KINDS, ResourceRef
from cortexops.domain.runbook import CheckStep, CountQuestion, Expect, MetricQuestion, ObjectQuestion
from cortexops.domain.runbook_condition import holds
from cortexops.domain.runbook_document import UNREADABLE_KINDS
from cortexops.domain.runbook_run import StepReason, StepStatus
from cortexops.domain.runbook_template import (
    Missing,
    Scalar,
    kind_name,
    object_name,
    promql,
    wording,
)
from cortexops.domain.scene import Scene

Values = Mapping[str, Scalar]
_LONGEST_OUTPUT = 200  # characters
_OMITTED_WHEN_ZERO = re.compile(r"/status/([a-z]+Replicas|replicas|failed|succeeded|active)")
"""Counts that the API server leaves out of a status when they are 0."""


class Answer(NamedTuple):
    """What a question found. `value` is None where there is nothing; `about` is what it was asked of."""

    value: Scalar | None
    kind: EvidenceKind
    about: ResourceRef
    asked: str
    source: JSON | None = None
    command: str = ""


class Unanswered(Exception):
    """There is no answer. A step without one is skipped or failed, never taken as passed."""

    def __init__(self, status: StepStatus, reason: StepReason, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail[:300]


class Asker:
    """Asks in one investigation. With `fresh` answers come from new requests instead of those that were sent."""

    def __init__(self, reads: Reads, scene: Scene) -> None:
        self._reads = reads
        self._scene = scene

    async def ask(self, step: CheckStep, values: Values, *, fresh: bool = False) -> Answer:
        """Raises `Unanswered`."""
        try:
            if step.object is not None:
                return await self._object(step.object, step.expect, values, fresh=fresh)
            if step.count is not None:
                return await self._count(step.count, values, fresh=fresh)
            if step.metric is not None:
                return await self._metric(step.metric, values, fresh=fresh)
            return self._lines(step, values) if step.logs is not None else self._events(step)
        except Missing as error:
            raise Unanswered(StepStatus.SKIPPED, StepReason.VALUE_MISSING, str(error)) from None

    # -- objects -----------------------------------------------------------------------------------

    async def live(self, ref: ResourceRef, *, fresh: bool = False) -> JSON:
        """The object, from the scene when it is there. Raises `Unanswered`."""
        known = self._scene.get(ref)
        if known is not None and not fresh:
            return known

        async def get() -> JSON:
            return await self._reads.cluster.get(ref.kind, ref.namespace, ref.name)

        found = await self._read(("get", ref.kind, ref.namespace, ref.name), str(ref), get, fresh=fresh)
        return slim(ref.kind, {"kind": ref.kind} | found)

    def ref(self, kind: str, namespace: str, name: str, values: Values) -> ResourceRef:
        """The object that the templates name. Raises `Missing`, and `Unanswered` for a kind not to be read."""
        its = _readable(kind_name(kind, values))
        where = object_name(namespace, values) if KINDS[its].namespaced else ""
        return self._scene.ref(its, where, object_name(name, values))

    async def _object(
        self, question: ObjectQuestion, expect: Expect | None, values: Values, *, fresh: bool
    ) -> Answer:
        ref = self.ref(question.kind, question.namespace, question.name, values)
        try:
            live = await self.live(ref, fresh=fresh)
        except Unanswered as error:
            asks_presence = expect is not None and expect.exists is not None
            if error.reason is not StepReason.NOT_FOUND or not asks_presence:
                raise
            return Answer(None, EvidenceKind.STATUS, ref, f"{ref}", command=commands.show(ref))
        if question.field is None:
            return Answer(True, EvidenceKind.STATUS, ref, f"{ref}", live, commands.show(ref))
        kind = EvidenceKind.STATUS if question.field.startswith("/status") else EvidenceKind.CONFIG
        asked = f"{question.field} of {ref}"
        return Answer(field_of(live, question.field), kind, ref, asked, live, commands.show(ref))

    async def _count(self, question: CountQuestion, values: Values, *, fresh: bool) -> Answer:
        kind = _readable(kind_name(question.kind, values))
        where = ""
        if question.of_target:
            self._seen(KINDS[kind].plural)
            found = self._own(kind)
        else:
            where = object_name(question.namespace, values) if KINDS[kind].namespaced else ""
            found = await self._listed(kind, where, fresh=fresh)
        fitting = []
        for ref, obj in sorted(found, key=lambda item: str(item[0])):
            if all(holds(expect, field_of(obj, field), values) for field, expect in question.where.items()):
                fitting.append((ref, obj))
        place = f" of {self._scene.target}" if question.of_target else f" in {where}" if where else ""
        asked = f"the number of {KINDS[kind].plural}{place}" + (" that fit" if question.where else "")
        about = fitting[0][0] if fitting else self._scene.target
        return Answer(
            len(fitting), EvidenceKind.STATUS, about, asked, fitting[0][1] if fitting else None,
        )  # fmt: skip

    def _own(self, kind: str) -> list[tuple[ResourceRef, JSON]]:
        scene, target = self._scene, self._scene.target
        if target.kind == "Node" and kind == "Pod":
            return scene.pods_on(target)
        top = roots(scene) or [target]
        own = {ref for one in top for ref in (one, *scene.topology.descendants(one))}
        return [(ref, obj) for ref, obj in scene.of_kind(kind) if ref in own]

    async def _listed(self, kind: str, namespace: str, *, fresh: bool) -> list[tuple[ResourceRef, JSON]]:
        async def listing() -> Any:
            return await self._reads.cluster.list(kind, namespace, limit=MOST_LISTED, most=MOST_LISTED)

        what = f"{KINDS[kind].plural} in {namespace or 'the cluster'}"
        found = await self._read(("list", kind, namespace, "", ""), what, listing, fresh=fresh)
        if found.cut:
            detail = f"there are more than {MOST_LISTED} {what}: they are not counted"
            raise Unanswered(StepStatus.FAILED, StepReason.NO_DATA, detail)
        return [
            (meta.ref_of(self._scene.cluster, kind, obj), slim(kind, {"kind": kind} | obj))
            for obj in found.items
        ]

    # -- telemetry ---------------------------------------------------------------------------------

    async def _metric(self, question: MetricQuestion, values: Values, *, fresh: bool) -> Answer:
        backend = self._reads.backends.get("prometheus")
        if backend is None:
            raise Unanswered(
                StepStatus.SKIPPED, StepReason.NOT_CONFIGURED, "no Prometheus is configured for this cluster"
            )
        query = {"query": promql(question.query, values)}
        if not fresh:
            query["time"] = self._scene.told_at.isoformat()
        key = ("query", backend.name, "/api/v1/query", *(f"{k}={v}" for k, v in sorted(query.items())))
        answer = await self._read(key, "Prometheus", lambda: backend.get("/api/v1/query", query), fresh=fresh)
        numbers = _numbers(answer)
        take: dict[str, Callable[[list[float]], float]] = {"max": max, "min": min, "sum": math.fsum}
        value = take[question.take](numbers) if numbers else None
        return Answer(
            None if value is None else round(value, 6), EvidenceKind.METRIC, self._scene.target,
            f"{question.take} of {query['query']}",
        )  # fmt: skip

    def _lines(self, step: CheckStep, values: Values) -> Answer:
        assert step.logs is not None
        container = object_name(step.logs.container, values) if step.logs.container else ""
        wanted = wording(step.logs.contains, values).casefold()
        logs = [log for log in self._scene.logs if container in ("", log.container)]
        if not logs:
            self._seen("pods/log")
            raise Unanswered(StepStatus.FAILED, StepReason.NO_DATA, "no log was read in this investigation")
        hits = [log for log in logs for line in log.lines if wanted in line.casefold()]
        about = hits[0].pod if hits else logs[0].pod
        return Answer(
            len(hits), EvidenceKind.LOG, about, f"the number of log lines that say {wanted!r}",
            command=commands.logs(about, (hits or logs)[0].container, previous=(hits or logs)[0].previous),
        )  # fmt: skip

    def _events(self, step: CheckStep) -> Answer:
        assert step.events is not None
        self._seen("events")
        found = [event for event in self._scene.events if event.reason in step.events.reasons]
        about = found[0].about if found else self._scene.target
        return Answer(
            sum(event.count for event in found), EvidenceKind.EVENT, about,
            f"the number of events {', '.join(step.events.reasons)}", command=commands.events(about),
        )  # fmt: skip

    def _seen(self, what: str) -> None:
        """Raises `Unanswered` when the investigation could not read this: what was not seen is not nothing."""
        for gap in self._scene.gaps:
            told = f"{gap.what} ".startswith((f"list {what} ", f"get {what} ", "collect "))
            if gap.reason is not GapReason.NO_DATA and told:
                reason = StepReason.FORBIDDEN if gap.reason is GapReason.FORBIDDEN else StepReason.UNREACHABLE
                raise Unanswered(StepStatus.FAILED, reason, f"not seen: {gap.what}: {gap.detail}")

    # -- requests ----------------------------------------------------------------------------------

    async def _read(
        self, key: tuple[str, ...], what: str, call: Callable[[], Awaitable[Any]], *, fresh: bool
    ) -> Any:
        failed = StepStatus.FAILED
        try:
            return await call() if fresh else await self._reads.once(key, call)
        except Forbidden as error:
            raise Unanswered(failed, StepReason.FORBIDDEN, f"{what} may not be read: {error}") from None
        except (NotFound, InvalidInput) as error:
            raise Unanswered(failed, StepReason.NOT_FOUND, f"{what}: {error}") from None
        except CortexError as error:
            raise Unanswered(failed, StepReason.UNREACHABLE, f"{what}: {error}") from None


def _readable(kind: str) -> str:
    if kind not in KINDS or kind in UNREADABLE_KINDS:
        raise Unanswered(StepStatus.SKIPPED, StepReason.NOT_ALLOWED, f"a runbook does not read {kind}s")
    return kind


def field_of(obj: JSON, pointer: str) -> Scalar | None:
    """The value under the pointer, masked and short; of a list or an object its number of entries."""
    present, value = lookup(obj, pointer)
    if not present or value is None:
        return 0 if _OMITTED_WHEN_ZERO.fullmatch(pointer) and isinstance(obj.get("status"), dict) else None
    if isinstance(value, list | dict):
        return len(value)
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    masked = redact_value(pointer.rsplit("/", 1)[-1], str(value))
    return str(masked)[:_LONGEST_OUTPUT]


def _numbers(answer: JSON) -> list[float]:
    """The values of a vector or a scalar; what is no number is left out."""
    data = answer.get("data")
    pairs = [item.get("value") for item in objects(data, "result")]
    if isinstance(data, dict) and data.get("resultType") == "scalar":
        pairs = [data.get("result")]
    return [value for pair in pairs if (value := sample_value(pair)) is not None]
