"""Stops and levels as people set and take them back, each with the audit event that says who did it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from pydantic import ValidationError

from cortexops.domain.audit import PLATFORM, AuditEntry, AuditType
from cortexops.domain.autonomy import (
    Autonomy,
    Ladder,
    Level,
    Outcome,
    Override,
    Place,
    assess,
    check_override,
    override_for,
)
from cortexops.domain.errors import InvalidInput
from cortexops.domain.switch import Scope, Stop, check_stop
from cortexops.ports.switches import ControlStore

STOPPED, RESUMED = "stop_added", "stop_resumed"
SET, CLEARED = "autonomy_set", "autonomy_cleared"


class Controls:
    """Sets and takes back. Raises `InvalidInput`, `NotFound`, `TemporaryError`."""

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    async def stop(
        self, scope: Scope, reason: str, by: str, now: datetime, *, until: datetime | None = None, via: str
    ) -> Stop:
        """Stop every change within the scope, from now on."""
        try:
            stop = Stop(
                id=f"stop-{secrets.token_hex(5)}",
                scope=scope,
                reason=reason.strip(),
                stopped_by=by,
                since=now,
                until=until,
            )
        except ValidationError as error:
            raise _invalid(error) from None
        check_stop(stop, now)
        data = {"via": via, "stop": stop.model_dump(mode="json")}
        await self._store.add_stop(stop, _entry(stop.id, STOPPED, f"stopped: {stop}", by, now, data))
        return stop

    async def resume(self, stop_id: str, by: str, now: datetime, *, via: str) -> Stop:
        """Take a stop back. Doing it twice changes nothing."""
        data = {"via": via, "stop": stop_id}
        entry = _entry(stop_id, RESUMED, f"{stop_id} was taken back", by, now, data)
        return await self._store.resume_stop(stop_id, by, now, entry)

    async def set_level(
        self,
        level: Level,
        reason: str,
        by: str,
        now: datetime,
        *,
        until: datetime,
        via: str,
        cluster: str = "",
        namespace: str = "",
        workload: str = "",
        action: str = "",
    ) -> Override:
        """Set the level within the scope, for a time."""
        try:
            override = Override(
                id=f"level-{secrets.token_hex(5)}",
                cluster=cluster,
                namespace=namespace,
                workload=workload,
                action=action,
                level=level,
                reason=reason.strip(),
                set_by=by,
                since=now,
                until=until,
            )
        except ValidationError as error:
            raise _invalid(error) from None
        check_override(override, now)
        detail = f"{override.id}: {level} for {override.scope} until {until.isoformat()}: {override.reason}"
        data = {"via": via, "override": override.model_dump(mode="json")}
        await self._store.set_override(override, _entry(override.id, SET, detail, by, now, data))
        return override

    async def clear_level(self, override_id: str, by: str, now: datetime, *, via: str) -> Override:
        """Let the level be what was earned again. Doing it twice changes nothing."""
        data = {"via": via, "override": override_id}
        entry = _entry(override_id, CLEARED, f"{override_id} was cleared", by, now, data)
        return await self._store.clear_override(override_id, now, entry)


class Standing(NamedTuple):
    """A place, its level, and the override that holds for it, if any."""

    place: Place
    autonomy: Autonomy
    override: Override | None
    outcomes: list[Outcome]


async def standings(
    store: ControlStore, ladder: Ladder, environment: str, now: datetime, only: Place | None = None
) -> list[Standing]:
    """Levels of all places that have a past, or of one place, which may have none."""
    outcomes = await store.outcomes(
        now - timedelta(days=ladder.window_days),
        cluster=only.cluster if only else None,
        namespace=only.namespace if only else None,
        action=only.action if only else None,
    )
    overrides = await store.overrides()
    grouped: dict[Place, list[Outcome]] = {only: []} if only else {}
    for outcome in outcomes:
        place = Place(
            cluster=outcome.cluster,
            namespace=outcome.namespace,
            workload=outcome.workload,
            action=outcome.action,
        )
        if only is None or place == only:
            grouped.setdefault(place, []).append(outcome)
    return [
        _standing(place, past, overrides, ladder, environment, now)
        for place, past in sorted(grouped.items(), key=lambda item: str(item[0]))
    ]


def _standing(
    place: Place,
    past: list[Outcome],
    overrides: Sequence[Override],
    ladder: Ladder,
    environment: str,
    now: datetime,
) -> Standing:
    override = override_for(overrides, place, now)
    return Standing(place, assess(past, environment, ladder, now, override), override, past)


def _invalid(error: ValidationError) -> InvalidInput:
    first = error.errors()[0]
    return InvalidInput(".".join(str(part) for part in first["loc"]), first["msg"])


def _entry(id_: str, reason: str, detail: str, actor: str, now: datetime, data: dict[str, Any]) -> AuditEntry:
    return AuditEntry(
        chain=PLATFORM,
        type=AuditType.CONTROL_CHANGED,
        reason=reason,
        detail=detail,
        actor=actor,
        at=now,
        data=data,
        idempotency_key=f"{id_}:{reason}",
    )
