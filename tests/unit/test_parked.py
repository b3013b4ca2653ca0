"""What people are shown of a parked message."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.parked import Parked, printable, shown


def message(body: bytes, size: int) -> Parked:
    return Parked(1, "alertmanager", "no_target", size, "", datetime(2026, 1, 1, tzinfo=UTC), body)


@given(st.binary(max_size=200))
def test_nothing_in_a_body_reaches_the_terminal_as_a_command(body: bytes) -> None:
    assert all(character == "\n" or character.isprintable() for character in shown(body))


@given(st.text(max_size=200))
def test_plain_text_stays_as_it_is(text: str) -> None:
    if all(character == "\n" or character.isprintable() for character in text):
        assert printable(text) == text


def test_escapes_and_turned_text_are_written_out() -> None:
    assert printable("\x1b[2Jx\r\u202e\n\u2028") == "\\x1b[2Jx\\r\\u202e\n\\u2028"


def test_a_secret_is_masked_before_it_is_shown() -> None:
    assert "hunter2hunter2" not in shown(b'{"password": "hunter2hunter2"}')


def test_a_message_is_cut_when_it_was_longer_than_what_is_kept() -> None:
    assert message(b"abc", 4).cut
    assert not message(b"abc", 3).cut
