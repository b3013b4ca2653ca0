"""The evaluation set as a test: what `make evals` prints must stay good, whatever things are called."""

from __future__ import annotations

from collections.abc import Callable

from tests.evals.expand import Incident
from tests.evals.lived_in import lived_in
from tests.evals.remedies import broken
from tests.evals.rename import renamed, stamped
from tests.evals.run import FOLDERS, Outcome, calibration, load, run

NAMES = [folder.name for folder in FOLDERS]
QUARTERS = [NAMES[start::4] for start in range(4)]
"""Each of the changed worlds plays another one, so that the tests end in time."""


def wrong(outcomes: list[Outcome]) -> list[str]:
    return [f"{o.name}: wanted {o.wanted}; said {o.verdict}, {o.said}" for o in outcomes if not o.right]


def harmful(outcomes: list[Outcome], change: Callable[[Incident], Incident] = lambda i: i) -> list[str]:
    """Remedies in the reports that would make things worse, do nothing, or cannot be typed as they stand."""
    return [each for o in outcomes for each in broken(change(load(o.name)), o.report)]


def accused_of_steering(outcomes: list[Outcome]) -> list[str]:
    """Ordinary incidents in whose texts the investigation saw an attempt to steer it."""
    return [
        o.name
        for o in outcomes
        if not o.name.startswith("injected-") and any(each.get("caveats") for each in o.report["incidents"])
    ]


async def test_causes_are_found_nobody_innocent_is_blamed_and_names_do_not_matter() -> None:
    assert len(NAMES) >= 60
    plain = await run(NAMES)
    assert len(wrong(plain)) <= 0.1 * len(plain), "\n".join(wrong(plain))
    assert not [(o.name, o.blamed) for o in plain if o.blamed]
    assert all(o.right for o in plain if o.verdict == "healthy"), wrong(plain)
    assert calibration(plain).brier < 0.1
    assert max(o.seconds for o in plain) < 3
    assert not harmful(plain)
    assert accused_of_steering(plain) == []
    other = await run(QUARTERS[0], renamed)
    assert not [(o.name, o.blamed) for o in other if o.blamed]
    found = {o.name for o in plain if o.right}.intersection(QUARTERS[0])
    assert found == {o.name for o in other if o.right}, "\n".join(wrong(other))


async def test_an_api_server_whose_clock_is_not_that_of_the_alerts_changes_little() -> None:
    found = await run(QUARTERS[1], stamped)
    assert len(wrong(found)) <= 0.05 * len(found), "\n".join(wrong(found))
    assert not [(o.name, o.blamed) for o in found if o.blamed]


async def test_what_controllers_write_all_the_time_is_taken_for_no_change() -> None:
    found = await run(QUARTERS[2], lived_in)
    assert not wrong(found), "\n".join(wrong(found))
    assert not [(o.name, o.blamed) for o in found if o.blamed]
    assert not harmful(found, lived_in)
