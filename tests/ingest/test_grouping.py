"""When a group of signals leaves: its window, the hurry of severe ones, and the news of what is open already."""

from __future__ import annotations

from cortexops.domain.correlation import key_of
from cortexops.domain.signal import Severity, Signal
from ingest.grouping import Groups, Taken
from ingest.sighting import see
from tests.ingest.support import settings, signal

WINDOW = 4.0


def groups() -> Groups:
    return Groups(settings(correlator={"window_seconds": WINDOW}).correlator)


def taken(one: Signal) -> Taken:
    sighting = see(one.model_dump_json().encode()).sighting
    return Taken(sighting, key_of(one.resource), one.resource, 1, 0.0)


def of(app: str, severity: Severity = Severity.MEDIUM, name: str = "A") -> Taken:
    return taken(signal(name, object_name=app, severity=severity))


def test_a_group_waits_for_its_window_however_calm_it_is() -> None:
    held = groups()
    held.add(of("api"), 10.0)
    assert held.due(10.0 + WINDOW - 0.1) == []
    assert len(held.due(10.0 + WINDOW)) == 1


def test_a_quarter_of_a_second_in_the_stream_counts_as_waiting_and_an_outage_no_more_than_that() -> None:
    held = groups()
    for waited, app in ((-3.0, "ahead"), (0.1, "prompt"), (0.25, "late"), (3600.0, "outage")):
        held.add(of(app), 10.0, waited)
    assert {group.resource.name for group in held.due(10.0 + WINDOW - 0.2)} == {"late", "outage"}
    assert {group.resource.name for group in held.due(10.0 + WINDOW - 0.05)} == {"prompt"}
    assert {group.resource.name for group in held.due(10.0 + WINDOW)} == {"ahead"}
    short = Groups(settings(correlator={"window_seconds": 0.2}).correlator)
    short.add(of("api"), 10.0, 3600.0)
    assert short.due(10.05) == []
    assert len(short.due(10.11)) == 1


def test_a_severe_signal_leaves_at_once_alone_and_after_half_a_second_in_company() -> None:
    alone = groups()
    alone.add(of("api", Severity.CRITICAL), 10.0)
    assert len(alone.due(10.0)) == 1
    crowd = groups()
    crowd.add(of("web"), 10.0)
    crowd.add(of("api", Severity.CRITICAL), 10.0)
    assert crowd.due(10.4) == []
    assert [group.resource.name for group in crowd.due(10.6)] == ["api"]


def test_news_of_an_incident_just_opened_leaves_when_the_partition_is_calm() -> None:
    held = groups()
    held.add(of("api", Severity.CRITICAL), 10.0)
    assert len(held.due(10.0)) == 1
    held.add(of("api", name="B"), 10.1)
    assert held.due(10.2) == []
    held.add(of("web"), 11.0)  # others keep coming: the next may be about it too
    assert held.due(11.5) == []
    assert [group.resource.name for group in held.due(12.0)] == ["api"]


def test_news_waits_no_longer_than_its_window_while_a_storm_goes_on() -> None:
    held = groups()
    held.add(of("api", Severity.CRITICAL), 10.0)
    assert len(held.due(10.0)) == 1
    held.add(of("api", name="B"), 10.1)
    left: list[float] = []
    for tenth in range(60):
        now = 10.2 + tenth / 10
        held.add(of(f"app{tenth}"), now)
        if any(group.resource.name == "api" for group in held.due(now)):
            left.append(now)
    assert left == [14.1]
