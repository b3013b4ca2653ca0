"""Who is believed to be whom."""

from __future__ import annotations

from cortexops.domain.approval import VoteRefusal
from cortexops.domain.people import REFUSAL_TEXTS, People, VoteNotCounted
from cortexops.settings import PersonSettings
from tests.console.support import PEOPLE, sha
from tests.support.case import ANA_TOKEN

SETTINGS = tuple(PersonSettings(**person) for person in PEOPLE)


def test_a_token_names_its_person_and_nothing_else_does() -> None:
    people = People(SETTINGS)
    ana = people.by_token(ANA_TOKEN)
    assert ana is not None
    assert (ana.id, ana.roles, ana.via) == ("ana", ("oncall",), "token")
    for wrong in (
        "",
        "ana",
        sha(ANA_TOKEN),
        ANA_TOKEN + " ",
        ANA_TOKEN.upper(),
        "é\udcff".encode("utf-8", "replace").decode(),
    ):
        assert people.by_token(wrong) is None


def test_people_without_a_token_or_slack_id_cannot_be_named_by_an_empty_one() -> None:
    people = People([PersonSettings(id="nobody", token_sha256="", slack_user_id=""), PersonSettings(id="x")])
    assert people.by_token("") is None
    assert people.by_slack("") is None
    assert not people.with_tokens


def test_a_slack_user_is_the_person_configured_for_exactly_that_id() -> None:
    people = People(SETTINGS)
    ana = people.by_slack("U0ANA")
    assert ana is not None
    assert (ana.id, ana.via) == ("ana", "slack")
    assert people.by_slack("u0ana") is None
    assert people.by_id("bo", via="web") is not None
    assert people.by_id("mallory", via="web") is None


def test_every_refusal_has_words() -> None:
    assert set(REFUSAL_TEXTS) == set(VoteRefusal)
    assert "expired" in str(VoteNotCounted(VoteRefusal.EXPIRED))
