"""Raising a container's limit and request of memory or CPU: how far, and what stands in the way."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from cortexops.domain.errors import Rejected
from cortexops.domain.kubernetes.values import mapping, text
from cortexops.domain.quantity import format_bytes, format_cores, parse_quantity
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.room import Known, ceiling, held, room
from cortexops.domain.workload import container_index

FACTOR = 2
"""The new limit is at most so many times the present one."""


class Sort(NamedTuple):
    """A resource by its name in `limits`; `written` is an amount as text, rounded down."""

    name: str
    written: Callable[[Decimal], str]

    @property
    def quotas(self) -> tuple[str, ...]:
        """Names of the quotas that bound requests."""
        return (f"requests.{self.name}", self.name)


MEMORY = Sort("memory", lambda amount: format_bytes(amount, at_most=True))
CPU = Sort("cpu", format_cores)
SORTS = (MEMORY, CPU)


class Raise(NamedTuple):
    """Limit and request as they are to be, and as they are (a request that is not set is the limit)."""

    limit: str
    request: str
    limit_now: str
    request_now: str


class NoRaise(NamedTuple):
    """`unlimited`: there is no limit to raise; otherwise it is at its bound."""

    unlimited: bool
    why: str


def raise_of(
    known: Known,
    target: ResourceRef,
    live: JSON,
    container: str,
    sort: Sort,
    request: Callable[[Decimal], Decimal],
) -> Raise | NoRaise:
    """The most that is allowed. `request`: what the container should ask for, given the new limit; it is never
    lowered, and stays within its quota. Raises `Rejected` when the container is not there."""
    resources = _resources(live, container)
    limit = resources["limits"].get(sort.name)
    if limit is None:
        return NoRaise(True, f"{container} has no {sort.name} limit to raise")
    now = parse_quantity(limit)
    bound = ceiling(known, target, live, container, sort.name)
    most = now * FACTOR if bound is None else min(now * FACTOR, bound.most)
    new = parse_quantity(sort.written(most))
    if new <= now:
        return NoRaise(False, f"the limit {limit} is at its bound: {bound.says if bound else 'it is none'}")
    request_now = resources["requests"].get(sort.name, limit)
    has = parse_quantity(request_now)
    wanted = max(request(new), has)
    left = room(known, target, live, sort.quotas, "requests", sort.name)
    asked = sort.written(min(new, wanted if left is None else max(has, min(wanted, has + left.most))))
    return Raise(
        limit=sort.written(new),
        request=asked if parse_quantity(asked) > has else str(request_now),
        limit_now=str(limit),
        request_now=str(request_now),
    )


def check(
    known: Known, target: ResourceRef, live: JSON, container: str, sort: Sort, limit: str, request: str
) -> None:
    """Raises `Rejected` when limit or request are outside of their bounds."""
    what = f"{sort.name}_limit", f"{sort.name}_request"
    present = _resources(live, container)["limits"].get(sort.name)
    if present is None:
        raise Rejected(f"container {container} has no {sort.name} limit (any more)")
    if not parse_quantity(present) < parse_quantity(limit) <= parse_quantity(present) * FACTOR:
        raise Rejected(f"{what[0]} {limit} is not above {present} and at most {FACTOR} times it")
    if parse_quantity(request) > parse_quantity(limit):
        raise Rejected(f"{what[1]} {request} is above {what[0]} {limit}")
    bound = ceiling(known, target, live, container, sort.name)
    if bound is not None and parse_quantity(limit) > bound.most:
        raise Rejected(f"{what[0]} {limit} is above what is allowed: {bound.says}")
    left = room(known, target, live, sort.quotas, "requests", sort.name)
    more = parse_quantity(request) - held(live, "requests", sort.name).get(container, Decimal(0))
    if left is not None and more > max(left.most, Decimal(0)):
        raise Rejected(f"{what[1]} {request} is above what is left: {left.says}")


def _resources(live: JSON, container: str) -> dict[str, dict[str, Any]]:
    spec = live["spec"]["template"]["spec"]["containers"][container_index(live, container)]
    assert text(spec, "name") == container
    return {part: mapping(spec, "resources", part) for part in ("limits", "requests")}
