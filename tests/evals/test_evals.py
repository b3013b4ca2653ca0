"""The evaluation set as a test: what `make evals` prints must stay good, whatever things are called."""

from __future__ import annotations

from tests.evals.lived_in import lived_in
from tests.evals.rename import renamed, stamped
from tests.evals.run import FOLDERS, Outcome, calibration, run

NAMES = [folder.name for folder in FOLDERS]


def wrong(outcomes: list[Outcome]) -> list[str]:
    return [f"{o.name}: wanted {o.wanted}; said {o.verdict}, {o.said}" for o in outcomes if not o.right]


async def test_causes_are_found_nobody_innocent_is_blamed_and_names_do_not_matter() -> None:
    assert len(NAMES) >= 60
    plain = await run(NAMES)
    assert len(wrong(plain)) <= 0.1 * len(plain), "\n".join(wrong(plain))
    assert not [(o.name, o.blamed) for o in plain if o.blamed]
    assert all(o.right for o in plain if o.verdict == "healthy"), wrong(plain)
    assert calibration(plain).brier < 0.1
    assert max(o.seconds for o in plain) < 3
    other = await run(NAMES, renamed)
    assert not [(o.name, o.blamed) for o in other if o.blamed]
    assert {o.name for o in plain if o.right} == {o.name for o in other if o.right}, "\n".join(wrong(other))


async def test_an_api_server_whose_clock_is_not_that_of_the_alerts_changes_little() -> None:
    found = await run(NAMES, stamped)
    assert len(wrong(found)) <= 0.05 * len(found), "\n".join(wrong(found))
    assert not [(o.name, o.blamed) for o in found if o.blamed]


async def test_what_controllers_write_all_the_time_is_taken_for_no_change() -> None:
    found = await run(NAMES, lived_in)
    assert not wrong(found), "\n".join(wrong(found))
    assert not [(o.name, o.blamed) for o in found if o.blamed]
