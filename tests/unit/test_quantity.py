"""Kubernetes quantities."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.errors import InvalidInput
from cortexops.domain.quantity import format_bytes, format_cores, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("512Mi", 512 * 2**20),
        ("1.5Gi", 3 * 2**29),
        ("250m", Decimal("0.25")),
        ("2", 2),
        (2, 2),
        (0.5, Decimal("0.5")),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("1e-3", Decimal("0.001")),
        ("100M", 10**8),
        ("+5k", 5000),
        (".5", Decimal("0.5")),
        ("5.", 5),
        ("128974848000m", 128974848),
        ("0", 0),
    ],
)
def test_a_quantity_is_read(text: str | float, value: Decimal) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Mi",
        "1 Mi",
        "1mi",
        "1MiB",
        "0x10",
        "1e",
        "--1",
        "1..2",
        "NaN",
        "Infinity",
        "٣",
        "1e999999999",
        "9" * 400,
        "1e3Mi",
        "5\n5",
        "1,5",
    ],
)
def test_anything_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidInput, match="not a Kubernetes quantity"):
        parse_quantity(text)


@given(st.text(max_size=12))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        parse_quantity(text)
    except InvalidInput:
        pass


@given(st.integers(0, 2**50))
def test_whole_mebibytes_come_back_the_same(mebibytes: int) -> None:
    assert parse_quantity(format_bytes(mebibytes * 2**20)) == mebibytes * 2**20


@given(st.decimals(0, 2**50, places=3, allow_nan=False))
def test_rounding_goes_the_way_that_was_asked_for(value: Decimal) -> None:
    up, down = parse_quantity(format_bytes(value)), parse_quantity(format_bytes(value, at_most=True))
    assert down <= value <= up
    assert up - down in (0, 2**20)


@pytest.mark.parametrize(
    ("value", "text"),
    [(768 * 2**20, "768Mi"), (2**30, "1Gi"), (1536 * 2**20, "1536Mi"), (1, "1Mi"), (0, "0")],
)
def test_the_form_is_short(value: int, text: str) -> None:
    assert format_bytes(value) == text


@given(st.decimals(0, 512, places=5))
def test_cores_are_written_as_at_most_what_they_are(value: Decimal) -> None:
    assert value - Decimal("0.001") < parse_quantity(format_cores(value)) <= value


@pytest.mark.parametrize(("value", "text"), [("2", "2"), ("1.5", "1500m"), ("0.0019", "1m"), ("0", "0")])
def test_cores_are_written_as_people_do(value: str, text: str) -> None:
    assert format_cores(Decimal(value)) == text
