"""What a silence covers, when it holds, and which ones may not be made."""

from __future__ import annotations

import fnmatch
import re
import time as clock
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.errors import InvalidInput
from cortexops.domain.flapping import is_flapping
from cortexops.domain.resource import ResourceRef
from cortexops.domain.silence import LONGEST, Matcher, Silence, Weekly, check_silence, held_until, matches

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday
API = ResourceRef(cluster="prod", kind="Deployment", namespace="shop", name="api")


def a_silence(**changes: Any) -> Silence:
    base: dict[str, Any] = {
        "id": "s1",
        "matcher": Matcher(namespace="shop"),
        "starts_at": NOW - timedelta(hours=1),
        "ends_at": NOW + timedelta(hours=1),
        "reason": "moving the database",
        "created_by": "ana",
    }
    return Silence(**{**base, **changes})


@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_a_pattern_matches_as_shells_do(pattern: str, value: str) -> None:
    assert matches(pattern, value) == bool(re.fullmatch(fnmatch.translate(pattern), value))


def test_a_hostile_pattern_costs_no_time() -> None:
    began = clock.perf_counter()
    assert not matches("*a" * 120, "a" * 100_000 + "b")
    assert clock.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("matcher", "covered"),
    [
        ({"namespace": "shop"}, True),
        ({"namespace": "sh*", "kind": "Deployment", "name": "a*i"}, True),
        ({"cluster": "prod", "name": "web"}, False),
        ({"cluster": "dev"}, False),
        ({"alert": "Kube*"}, True),
        ({"alert": "KubePodCrashLooping"}, False),  # another alert says that something else is wrong as well
    ],
)
def test_all_fields_that_are_given_must_match(matcher: dict[str, str], covered: bool) -> None:
    assert Matcher(**matcher).covers(API, ["KubePodCrashLooping", "KubePodNotReady"]) is covered


def test_a_silence_holds_from_its_start_to_its_end_or_until_it_is_lifted() -> None:
    silence = a_silence()
    assert silence.until(NOW) == silence.ends_at
    assert silence.until(silence.starts_at - timedelta(seconds=1)) is None
    assert silence.until(silence.ends_at) is None
    assert a_silence(lifted_at=NOW).until(NOW) is None


def test_the_longest_of_several_holds() -> None:
    longer = a_silence(id="s2", ends_at=NOW + timedelta(hours=2))
    other = a_silence(id="s3", matcher=Matcher(namespace="bank"), ends_at=NOW + timedelta(hours=9))
    found = held_until([a_silence(), longer, other], API, ["A"], NOW)
    assert found == (longer.ends_at, longer)
    assert held_until([other], API, ["A"], NOW) is None


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_a_weekly_window_holds_in_its_own_zone_also_over_midnight(zone: str) -> None:
    weekly = Weekly(day=2, start=time(23, 30), minutes=60, zone=zone)
    silence = a_silence(weekly=weekly, starts_at=NOW - timedelta(days=30), ends_at=NOW + timedelta(days=300))
    begins = datetime(2026, 3, 4, 23, 30, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    assert silence.until(begins - timedelta(minutes=1)) is None
    assert silence.until(begins) == begins + timedelta(hours=1)
    assert silence.until(begins + timedelta(minutes=59)) == begins + timedelta(hours=1)
    assert silence.until(begins + timedelta(minutes=60)) is None
    again = datetime(2026, 3, 11, 23, 30, tzinfo=ZoneInfo(zone)).astimezone(
        UTC
    )  # summer has begun in America
    assert silence.until(again) == again + timedelta(hours=1)


def test_a_window_whose_zone_is_unknown_holds_nothing_and_cannot_be_made() -> None:
    silence = a_silence(weekly=Weekly(day=2, start=time(0), minutes=1440, zone="Mars/Olympus"))
    assert silence.until(NOW) is None
    with pytest.raises(InvalidInput, match="zone"):
        check_silence(silence, NOW)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"matcher": Matcher()}, "matcher"),
        ({"matcher": Matcher(kind="Deployment")}, "matcher"),
        ({"matcher": Matcher(namespace="*")}, "matcher"),
        ({"matcher": Matcher(cluster="p*")}, "matcher"),
        ({"ends_at": NOW - timedelta(hours=2)}, "ends_at"),
        ({"ends_at": NOW - timedelta(minutes=1)}, "ends_at"),
        ({"ends_at": NOW + LONGEST}, "ends_at"),
    ],
)
def test_what_would_hide_too_much_is_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        check_silence(a_silence(**changes), NOW)


def test_three_ends_within_a_day_are_flapping() -> None:
    ends = [NOW - timedelta(hours=hours) for hours in (1, 23, 25)]
    assert not is_flapping(ends, NOW)
    assert is_flapping([*ends, NOW - timedelta(hours=2)], NOW)
