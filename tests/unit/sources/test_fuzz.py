"""Whatever comes in: every item is accounted for, nothing but `InvalidInput` is raised, neighbours survive."""

from __future__ import annotations

import copy
import json
import time
import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cortexops.domain.errors import InvalidInput
from cortexops.domain.signal import Signal
from ingest.decode import AUTO, decode_signal, parse_documents, split_documents
from ingest.source import MOST_LABELS, ParseResult
from ingest.sources import SOURCES
from tests.unit.sources import payloads
from tests.unit.sources.payloads import FIRING, NOW, RESOLVED, parse

KINDS = sorted(FIRING)
EACH = settings(max_examples=settings().max_examples // 3)
"""For what is tried with each of the kinds."""
SHAPES = [*(make for make in FIRING.values()), *(make for make in RESOLVED.values())]
SHAPES += [payloads.pagerduty_tutorial, payloads.pagerduty_event, payloads.subscription, payloads.alarm]

awkward = st.sampled_from(
    [
        "", "\x00", "a\x1b[0m", "\u202eevil", "x" * 3000, "../../etc", "$TAGS", "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z", "0000-00-00", "1e400", -1, 0, 2**80, 1e308, True, "firing", "resolved",
        "deployment/a/b/c", "/", "ns/", ["a:b", 5], {"a": {"b": []}}, "\ud83d\ude00", "é" * 600,
    ]
)  # fmt: skip
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text | awkward,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children: Any = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    return [here] + [path for key, child in children for path in paths(child, (*here, key))]


def put(payload: Any, path: tuple[Any, ...], how: str, value: Any) -> Any:
    """The payload with one place of it dropped, replaced, or put one level deeper."""
    if not path:
        return value if how == "replace" else payload
    changed = copy.deepcopy(payload)
    at = changed
    for key in path[:-1]:
        at = at[key]
    if how == "drop":
        del at[path[-1]]
    elif how == "nest":
        at[path[-1]] = {"x": at[path[-1]]} if isinstance(value, bool) else [at[path[-1]]]
    else:
        at[path[-1]] = value
    return changed


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    payload = draw(st.sampled_from(SHAPES))()
    if "Message" in payload and draw(st.booleans()):  # the alarm inside the envelope
        inner = json.loads(payload["Message"]) if payload["Type"] == "Notification" else {}
        inner = put(inner, draw(st.sampled_from(paths(inner))), draw(_how), draw(st.none() | text | awkward))
        return {**payload, "Message": json.dumps(inner)}
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths(payload)))
        payload = put(payload, path, draw(_how), draw(anything))
    return payload


_how = st.sampled_from(["drop", "replace", "nest"])


def is_clean(value: str, lines: str = "") -> bool:
    return all(unicodedata.category(c) not in ("Cc", "Cs") or c in lines for c in value) and not any(
        c in value for c in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068"
    )


def check_signal(signal: Signal) -> None:
    assert signal.fingerprint
    assert len(signal.fingerprint) <= 64
    assert signal == signal.sealed()
    assert signal.resource.cluster == signal.cluster
    assert is_clean(signal.summary, lines="\n\t")
    parts = [signal.source, signal.cluster, signal.name, signal.resource.key, signal.fingerprint]
    for part in [*parts, *signal.labels, *signal.labels.values()]:
        assert is_clean(part)
    assert len(signal.labels) <= MOST_LABELS + 1
    signal.model_dump_json().encode()


def check(result: ParseResult) -> None:
    for signal in result.signals:
        check_signal(signal)
        assert (
            Signal.model_validate(signal.model_dump(by_alias=True)) == signal
        )  # built without the model's check
    for refused in result.rejected:
        assert refused.field
        assert refused.message
        assert is_clean(refused.field + refused.message, lines="\n\t")
        msgspec.json.decode(refused.raw)


def items_of(source: str, payload: Any) -> int:
    if source in ("alertmanager", "grafana") and isinstance(payload, dict) and "alerts" in payload:
        return len(payload["alerts"])
    return len(payload) if isinstance(payload, list) else 1


def try_parse(source: str, payload: Any) -> ParseResult | None:
    try:
        return parse(source, payload)
    except InvalidInput as error:
        assert error.field
        return None


@pytest.mark.parametrize("source", KINDS)
@given(payload=anything)
@EACH
def test_arbitrary_json_is_accounted_for(source: str, payload: Any) -> None:
    result = try_parse(source, payload)
    if result is not None:
        check(result)
        assert result.size == items_of(source, payload)


@pytest.mark.parametrize("source", KINDS)
@given(payload=mutated())
@EACH
def test_payloads_with_broken_parts_are_accounted_for(source: str, payload: Any) -> None:
    for body in (payload, [payload, payload]):
        result = try_parse(source, body)
        if result is not None:
            check(result)
            if source != "cloudevents":  # an event may carry several items, or a well object
                assert result.size == items_of(source, body)


@given(payload=mutated())
def test_a_broken_payload_is_recognised_or_refused_and_never_more(payload: Any) -> None:
    result = parse_documents([payload], AUTO, cluster="main", now=NOW)
    check(result)


@pytest.mark.parametrize("source", KINDS)
@given(bad=st.lists(mutated(), min_size=1, max_size=4), place=st.integers(0, 3))
@settings(EACH, suppress_health_check=[HealthCheck.too_slow])
def test_a_bad_item_takes_no_neighbour_with_it(source: str, bad: list[Any], place: int) -> None:
    good = FIRING[source]()
    item = good["alerts"][0] if "alerts" in good else good
    (expected,) = parse(source, good).signals
    items = [*bad[:place], item, *bad[place:]]
    payload = {**good, "alerts": items} if "alerts" in good else items
    result = parse(source, payload)
    assert expected in result.signals
    check(result)


@given(document=mutated())
def test_messages_of_the_stream_are_signals_or_refused(document: Any) -> None:
    try:
        raw = json.dumps(document).encode()
    except ValueError:
        return
    try:
        check_signal(decode_signal(raw))
    except InvalidInput as error:
        assert error.field


@given(
    body=st.binary(max_size=200) | text.map(str.encode) | mutated().map(lambda p: json.dumps(p).encode()[:-3])
)
def test_bytes_are_documents_or_refused(body: bytes) -> None:
    try:
        documents, rejected = split_documents(body)
    except InvalidInput as error:
        assert error.field == "body"
        return
    assert len(documents) + len(rejected) >= 1
    assert all(item.field == "line" for item in rejected)
    assert parse_documents(documents, "alertmanager", cluster="main", now=NOW).size >= 0


# -- size ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["alertmanager", "grafana"])
def test_ten_thousand_alerts_are_read_in_well_under_a_second(source: str) -> None:
    payload = FIRING[source]()
    (alert,) = payload["alerts"]
    payload["alerts"] = [
        {**alert, "labels": {**alert["labels"], "pod": f"api-{n}"}, "fingerprint": f"{n:016x}"}
        for n in range(10_000)
    ]
    began = time.process_time()
    result = parse(source, payload)
    assert time.process_time() - began < 1.0
    assert len({signal.fingerprint for signal in result.signals}) == 10_000


@pytest.mark.parametrize("labels", [{f"l{n}": "x" * 10 for n in range(60_000)}, {"big": "x" * 2**20}])
def test_a_mebibyte_of_labels_is_cut_quickly_and_the_object_is_still_found(labels: dict[str, str]) -> None:
    payload = payloads.alertmanager()
    payload["alerts"][0]["labels"] |= labels
    began = time.process_time()
    signal = payloads.one("alertmanager", payload)
    assert time.process_time() - began < 0.5
    assert str(signal.resource) == "Pod shop/api-0"
    assert len(signal.model_dump_json()) < 64 * 1024


@pytest.mark.parametrize("source", KINDS)
def test_deep_nesting_harms_no_source(source: str) -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    result = try_parse(source, [deep, {"alerts": deep}, FIRING[source]()])
    assert result is not None
    assert len(result.rejected) >= 2
    for path in paths(FIRING[source]())[1:]:
        try_parse(source, put(FIRING[source](), path, "replace", deep))


def test_every_source_is_tried_here() -> None:
    assert {*KINDS, "kubernetes"} == set(SOURCES.kinds)
