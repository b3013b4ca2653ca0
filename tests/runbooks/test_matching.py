"""Which runbook an incident gets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.diagnosis import Category
from cortexops.domain.runbook import Match, Origin, Runbook
from cortexops.domain.runbook_match import fit, matching
from cortexops.domain.signal import Severity
from tests.runbooks.support import made, signal, subject


def book(id: str = "one", origin: Origin = Origin.FOLDER, **match: object) -> Runbook:
    return made(id=id, match=match, origin=origin)


def best(*books: Runbook, on=None) -> str | None:
    found = matching(books, on or subject())
    return found[0][0].id if found else None


def test_the_more_specific_one_comes_first() -> None:
    wide, narrow = book("wide", alerts=["Bro*"]), book("narrow", alerts=["Broken"])
    narrowest = book("narrowest", alerts=["Broken"], namespaces=["shop"])
    assert best(wide, narrow) == "narrow" and best(narrowest, wide, narrow) == "narrowest"


def test_of_equals_the_teams_own_comes_before_ours() -> None:
    assert best(book("a", Origin.SHIPPED, alerts=["Broken"]), book("b", alerts=["Broken"])) == "b"


def test_all_that_is_given_must_fit() -> None:
    assert best(book(alerts=["Broken"], severities=["critical"])) is None
    assert best(book(alerts=["Broken"], severities=["high"], kinds=["Deploy*"], clusters=["prod-*"])) == "one"
    assert best(book(alerts=["Broken"], services=["api"])) == "one"
    assert best(book(alerts=["Broken"], services=["web"])) is None
    assert best(book(services=["front"]), on=subject(signal(service="front"))) == "one"


def test_a_category_fits_only_once_the_cause_is_known() -> None:
    one = book(categories=["crash"])
    assert best(one) is None and best(one, on=subject(category=Category.CRASH)) == "one"


def test_labels_and_name_must_belong_to_one_and_the_same_alert() -> None:
    one = book(alerts=["Broken"], labels={"team": "pay*"})
    assert best(one, on=subject(signal(team="payments"))) == "one"
    assert best(one, on=subject(signal(), signal("Other", team="payments"))) is None


def test_only_the_star_is_special_in_a_pattern() -> None:
    assert best(book(alerts=["Brok[e]n"])) is None and best(book(alerts=["Broke?"])) is None
    assert best(book(alerts=["*"])) == "one"


def test_every_criterion_is_explained() -> None:
    told = fit(book(alerts=["Other"], severities=["high"]), subject())
    assert not told.fits and told.score == 0
    assert [(c.name, c.fits, c.found) for c in told.criteria] == [
        ("alerts", False, ("Broken",)),
        ("severities", True, ("high",)),
    ]


words = st.sampled_from(["Broken", "Bro*", "*", "Other", "shop", "api"])
matches = st.builds(
    Match,
    alerts=st.lists(words, min_size=1, max_size=2).map(tuple),
    namespaces=st.lists(words, max_size=1).map(tuple),
    severities=st.lists(st.sampled_from(Severity), max_size=2).map(tuple),
)


@given(st.lists(st.tuples(matches, st.sampled_from(Origin)), max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_files_changes_nothing(given_matches, chance) -> None:
    books = [
        made(id=f"b{n}", origin=origin).model_copy(update={"match": match})
        for n, (match, origin) in enumerate(given_matches)
    ]
    shuffled = list(books)
    chance.shuffle(shuffled)
    assert matching(books, subject()) == matching(shuffled, subject())
