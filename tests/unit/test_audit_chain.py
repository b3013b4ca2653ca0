"""The hash chain: whole chains pass, and any change, removal, exchange or cut is found where it is."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from cortexops.domain.audit import GENESIS, AuditEntry, AuditEvent, AuditType, seal, verify_chain

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
_entries = st.builds(
    AuditEntry,
    chain=st.just("INC-1"),
    type=st.sampled_from(AuditType),
    reason=st.text(max_size=10),
    detail=st.text(max_size=10),
    actor=st.text(max_size=10),
    at=st.datetimes(timezones=st.just(UTC)),
    data=st.dictionaries(st.text(max_size=5), _json, max_size=2),
    idempotency_key=st.text(max_size=5),
)
_chains = st.lists(_entries, min_size=1, max_size=6).map(lambda entries: chain_of(entries))  # noqa: PLW0108


def chain_of(entries: list[AuditEntry]) -> list[AuditEvent]:
    events: list[AuditEvent] = []
    for number, entry in enumerate(entries, start=1):
        previous = events[-1].hash if events else GENESIS
        events.append(seal(entry, number=number, previous_hash=previous))
    return events


def places(events: list[AuditEvent], head: tuple[int, str] | None = None) -> set[tuple[int, str]]:
    return {(fault.number, fault.fault) for fault in verify_chain(events, head=head)}


@given(_chains)
def test_a_whole_chain_has_no_fault_also_after_a_trip_through_json(events: list[AuditEvent]) -> None:
    head = (events[-1].number, events[-1].hash)
    assert verify_chain(events, head=head) == []
    assert (
        verify_chain([AuditEvent.model_validate_json(e.model_dump_json()) for e in events], head=head) == []
    )


@given(_chains, st.data())
def test_a_changed_field_is_found_at_its_row(events: list[AuditEvent], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(events) - 1))
    field = data.draw(st.sampled_from(sorted(AuditEvent.model_fields)))
    other: Any = {
        "type": st.sampled_from(AuditType),
        "at": st.datetimes(timezones=st.just(UTC)),
        "data": st.dictionaries(st.text(max_size=5), _json, max_size=2),
        "number": st.integers(1, 99),
    }.get(field, st.text(max_size=64))
    changed = events[at].model_copy(update={field: data.draw(other)})
    assume(changed.model_dump_json() != events[at].model_dump_json())
    found = places([*events[:at], changed, *events[at + 1 :]])
    assert (changed.number, "content was changed") in found


@given(_chains, st.data())
def test_a_removed_row_is_missed_at_its_place(events: list[AuditEvent], data: st.DataObject) -> None:
    head = (events[-1].number, events[-1].hash)
    at = data.draw(st.integers(0, len(events) - 1))
    found = places(events[:at] + events[at + 1 :], head)
    if at == len(events) - 1:
        assert found == {(at, "rows after this one are missing")}
    else:
        assert found == {(at + 1, "row is missing"), (at + 2, "does not follow the row before it")}


@given(_chains, st.data())
def test_exchanged_rows_are_found(events: list[AuditEvent], data: st.DataObject) -> None:
    assume(len(events) > 1)
    at = data.draw(st.integers(0, len(events) - 2))
    exchanged = [*events[:at], events[at + 1], events[at], *events[at + 2 :]]
    renumbered = [e.model_copy(update={"number": n}) for n, e in enumerate(exchanged, start=1)]
    assert (at + 1, "row is missing") in places(exchanged)
    assert {(at + 1, "content was changed"), (at + 2, "content was changed")} <= places(renumbered)


@given(_chains, st.integers(1, 6))
def test_a_cut_tail_is_found_only_with_the_head(events: list[AuditEvent], kept: int) -> None:
    assume(kept < len(events))
    head = (events[-1].number, events[-1].hash)
    assert places(events[:kept]) == set()
    assert places(events[:kept], head) == {(kept, "rows after this one are missing")}


def test_the_hash_is_the_same_for_ever() -> None:
    entry = AuditEntry(
        chain="INC-1", type=AuditType.VERIFIED, reason="verified", at=datetime(2026, 1, 2, tzinfo=UTC),
        idempotency_key="k",
    )  # fmt: skip
    sealed = seal(entry, number=1, previous_hash=GENESIS)
    text = (
        '{"actor":"cortexops","at":"2026-01-02T00:00:00Z","chain":"INC-1","data":{},"detail":"",'
        '"idempotency_key":"k","number":1,"previous_hash":"' + "0" * 64 + '",'
        '"reason":"verified","type":"verified"}'
    )
    assert sealed.hash == hashlib.sha256(text.encode()).hexdigest()
    assert sealed.hash == "73991c0f49f359f41e488e3e041422f9acc5c9482dc5f1718ed427d416a60fa6"
