"""The hot path's decoder accepts what the full model accepts, reads the same from it, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.adapters.nats.publishing import document_of
from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import Signal, parse_signal
from ingest.decode import decode_signal
from ingest.sighting import documents, obstacle_of, see
from tests.ingest.support import signal

GOOD: dict[str, Any] = json.loads(
    signal("KubePodNotReady", kind="Pod", labels={"node": "n1"}).model_dump_json()
)
words = st.text(st.characters(categories=("L", "N", "P", "Cc")), max_size=12)
odd = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | words
    | st.sampled_from(
        ["", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00", "2026-03-01", "firing", "x" * 2001, "a\nb"]
    )
    | st.lists(st.text(max_size=3), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=3), max_size=2)
)


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    document = json.loads(json.dumps(GOOD))
    for _ in range(draw(st.integers(0, 3))):
        place = (
            draw(st.sampled_from([document, document["resource"]]))
            if isinstance(document.get("resource"), dict)
            else document
        )
        field = draw(st.sampled_from([*place, "more"])) if place else "more"
        if draw(st.booleans()):
            place[field] = draw(odd)
        else:
            place.pop(field, None)
    return document  # type: ignore[no-any-return]


@given(mutated())
def test_it_agrees_with_the_full_model(document: dict[str, Any]) -> None:
    raw = json.dumps(document).encode()
    try:
        full: Signal | None = decode_signal(raw)
    except InvalidInput:
        full = None
    try:
        seen = see(raw)
    except InvalidInput as error:
        assert full is None
        assert error.field
        return
    assert full is not None
    assert (seen.resource, seen.sighting.status, seen.sighting.severity) == (
        full.resource,
        full.status,
        full.severity,
    )
    assert seen.sighting.started_at == full.started_at.timestamp()
    assert seen.labels == full.labels
    whole = parse_signal(seen.sighting.text)
    assert whole.id == seen.sighting.id
    assert whole == full


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_anything_else_is_an_error_that_names_a_field(raw: bytes) -> None:
    try:
        for document in documents(raw):
            see(document)
    except InvalidInput as error:
        assert error.field


def test_an_array_is_as_many_documents() -> None:
    one = signal("A").model_dump_json().encode()
    assert documents(one) == [one]
    assert documents(b"[" + one + b"," + one + b"]") == [one, one]
    with pytest.raises(InvalidInput):
        documents(b"[" + one)
    with pytest.raises(InvalidInput):
        documents(b"[" * 100_000)


def test_lone_surrogates_and_control_characters_never_reach_the_books() -> None:
    raw = signal("A", summary="x").model_dump_json()
    with pytest.raises(InvalidInput):
        see(raw.replace('"summary":"x"', '"summary":"\\ud800"').encode())
    for bad in ("\\u0000", "\\u001b[31m", "\x7f", "\x9b"):
        text = see(raw.replace('"summary":"x"', f'"summary":"{bad}"').encode()).sighting.text
        assert json.loads(text)["summary"].isprintable()


@pytest.mark.parametrize(
    ("text", "obstacle"),
    [
        (
            'pods "a-1" is forbidden: exceeded quota: compute, requested: cpu=1, used: cpu=4, limited: cpu=4',
            "quota/compute",
        ),
        (
            'Internal error occurred: failed calling webhook "inject.example.com": Post "https://x"',
            "webhook/inject.example.com",
        ),
        ('admission webhook "deny.example.com" denied the request: no', "webhook/deny.example.com"),
        ("something else", ""),
    ],
)
def test_what_refuses_pods_is_read_from_the_api_servers_own_words(text: str, obstacle: str) -> None:
    assert obstacle_of("FailedCreate", text) == obstacle
    assert obstacle_of("HighErrorRate", text) == ""


@given(mutated())
def test_what_the_gateway_writes_is_what_the_model_reads(document: dict[str, Any]) -> None:
    try:
        one = decode_signal(json.dumps(document).encode())
    except InvalidInput:
        return
    written = document_of(one)
    assert json.loads(written).keys() == json.loads(one.model_dump_json()).keys()
    assert parse_signal(written) == one
    assert see(written).sighting.id == one.id
