"""Everything that is known of one signal, gathered from the books and from what is parked."""

from __future__ import annotations

from typing import Any

from cortexops.cli.common import open_store, settings
from cortexops.domain.correlation import key_of
from cortexops.domain.errors import InvalidInput, NotFound, TemporaryError
from cortexops.domain.incident import Incident
from cortexops.domain.links import LinkReason
from cortexops.domain.parked import Parked, shown
from cortexops.domain.signal import FateReason, Signal, SignalFate
from cortexops.domain.targets import ADDRESS
from cortexops.ports.store import SignalRecord, Store

_MOST_NAMED = 10  # ids that an ambiguous beginning may stand for, in the error
_MOST_PARKED = 2000  # newest parked messages that are looked through
_MOST_INCIDENTS = 2000  # newest, among which the one that took another in is looked for
_MOST_STEPS = 8  # incidents that went into one another

_LINKS = {
    LinkReason.SAME_WORKLOAD: "they belong to one workload",
    LinkReason.SAME_NODE: "the node under it failed",
    LinkReason.NAMESPACE_WIDE: "the same quota or webhook refuses its pods",
    LinkReason.SAME_CONFIG: "both read a configuration that had changed",
    LinkReason.SAME_ROLLOUT: "both came with one release",
    LinkReason.SHARED_DEPENDENCY: "it calls what is in trouble there",
}


async def explained(signal_id: str) -> dict[str, Any]:
    """The answer of `cortexops signals explain`.

    Raises `NotFound`; `InvalidInput` when the beginning of an id stands for several signals.
    """
    async with open_store() as store:
        ids = await store.signal_ids(signal_id, _MOST_NAMED + 1)
        whole = signal_id if signal_id in ids else ids[0] if len(ids) == 1 else ""
        if len(ids) > 1 and not whole:
            more = " and more" if len(ids) > _MOST_NAMED else ""
            raise InvalidInput("ID", f"stands for several: {', '.join(ids[:_MOST_NAMED])}{more}")
        record = await store.signal(whole) if whole else None
        if record is None:
            return _without_row(*await _find_parked(signal_id))
        return await _with_row(record, store)


async def _find_parked(prefix: str) -> tuple[Signal, Parked]:
    from cortexops.adapters.nats.parking import Parking
    from cortexops.cli.reprocess import parked_signals

    configured = settings()
    try:
        async with await Parking.connect(configured.nats) as parking:
            found = await parked_signals(
                parking, prefix, configured.gateway.default_cluster, most=_MOST_PARKED
            )
    except TemporaryError as error:
        raise NotFound(
            f"signal {prefix} has no fate in the books; what is parked cannot be read: {error}"
        ) from None
    ids = sorted({signal.id for signal, _ in found})
    if not found:
        raise NotFound(
            f"signal {prefix} was not found: it has no fate and is not parked. It may still wait in the "
            "stream (cortexops doctor), or have been a repetition that the stream itself removed"
        )
    if len(ids) > 1:
        raise InvalidInput("ID", f"stands for several: {', '.join(ids[:_MOST_NAMED])}")
    return found[-1]


def _without_row(signal: Signal, message: Parked) -> dict[str, Any]:
    return {
        "id": signal.id,
        "signal": signal.model_dump(mode="json", by_alias=True),
        "fingerprint_fields": signal.fingerprint_fields,
        "target_from": target_from(signal),
        "fate": SignalFate.PARKED.value,
        "reason": message.reason,
        "incident_key": key_of(signal.resource),
        "incident_id": None,
        "recorded_at": None,
        "link": None,
        "incidents": [],
        "parked": _place(message),
    }


def _place(message: Parked) -> dict[str, Any]:
    return {
        "sequence": message.sequence,
        "reason": message.reason,
        "detail": shown(message.detail.encode()),
        "parked_at": message.at.isoformat(),
    }


async def _with_row(record: SignalRecord, store: Store) -> dict[str, Any]:
    parked = None
    if record.fate.fate is SignalFate.PARKED:
        try:
            _, message = await _find_parked(record.signal.id)
            parked = _place(message)
        except NotFound:
            parked = None  # replayed or dropped since
    return {
        "id": record.signal.id,
        "signal": record.signal.model_dump(mode="json", by_alias=True),
        "fingerprint_fields": record.signal.fingerprint_fields,
        "target_from": target_from(record.signal),
        "fate": record.fate.fate.value,
        "reason": record.fate.reason.value,
        "incident_key": record.incident_key,
        "incident_id": record.incident_id,
        "recorded_at": record.recorded_at.isoformat(),
        "link": link_of(record.signal, record.fate.reason),
        "incidents": await _followed(record, store),
        "parked": parked,
    }


def target_from(signal: Signal) -> str:
    """How the signal's object was found, as far as it still tells."""
    from ingest.labels import named_by
    from ingest.source import TARGET_LABEL

    if signal.resource.kind == ADDRESS:
        return "the address in label instance, of which no object is known"
    if how := signal.labels.get(TARGET_LABEL):
        return f"the address in label instance: {how}"
    label = named_by(signal.labels, signal.name)
    named = signal.labels.get(f"exported_{label}") or signal.labels.get(label)
    return f"label {label}" if label and named == signal.resource.name else "the payload itself"


def link_of(signal: Signal, reason: FateReason) -> dict[str, str] | None:
    """Why the signal was counted with another object's incident; None when it is its own object's."""
    try:
        link = LinkReason(reason.value)
    except ValueError:
        return None
    return {"reason": link.value, "object": str(signal.resource), "explanation": _LINKS[link]}


async def _followed(record: SignalRecord, store: Store) -> list[dict[str, Any]]:
    """The signal's incident, and where it went when it turned out to be part of another one."""
    steps: list[dict[str, Any]] = []
    next_id = record.incident_id
    while next_id and len(steps) < _MOST_STEPS and next_id not in [step["id"] for step in steps]:
        incident = await store.incident(next_id)
        if incident is None:
            break
        into = None
        if incident.merged_into:
            into = await _target(incident, store)
        steps.append(
            {
                "id": incident.id,
                "key": incident.key,
                "state": incident.state.value,
                "reason": incident.reason.value,
                "merged_into": into,
            }
        )
        next_id = into["id"] if into else None
    return steps


async def _target(merged: Incident, store: Store) -> dict[str, str]:
    """Key and id of the incident that this one went into: the first of that key which went on after it.
    The id is empty when that one is not among the newest."""
    recent = await store.incidents(most=_MOST_INCIDENTS)
    later = [
        incident
        for incident in recent
        if incident.key == merged.merged_into
        and (incident.ended_at is None or merged.ended_at is None or incident.ended_at >= merged.ended_at)
    ]
    return {"key": merged.merged_into, "id": later[-1].id if later else ""}
