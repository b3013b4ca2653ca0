"""The redactor against what really occurs: nothing missed, nothing masked that an investigation needs."""

# ruff: noqa: E501 - texts as they occur
from __future__ import annotations

import time

import pytest

from cortexops.domain.outgoing import Destination, outgoing
from cortexops.domain.redaction import redact
from tests.safety.corpus import INNOCENT, SECRETS, Planted

MEBIBYTE = 1 << 20
_PIECE = 9  # characters: no longer stretch of a secret may be left


@pytest.mark.parametrize("planted", SECRETS, ids=lambda planted: planted.name)
def test_no_piece_of_a_secret_is_left(planted: Planted) -> None:
    assert planted.secret in planted.text
    masked = redact(planted.text)
    assert masked.counts
    pieces = [planted.secret[i : i + _PIECE] for i in range(max(1, len(planted.secret) - _PIECE + 1))]
    assert [piece for piece in pieces if piece in masked.text] == []


def test_the_corpus_is_large_enough() -> None:
    assert len(SECRETS) >= 80
    assert len({planted.text for planted in SECRETS}) == len(SECRETS)
    assert len(set(INNOCENT)) >= 60


@pytest.mark.parametrize("text", INNOCENT)
def test_what_an_investigation_needs_stays(text: str) -> None:
    assert redact(text) == (text, {})


def test_a_whole_page_of_both_keeps_and_masks_as_each_line_does() -> None:
    lines = [line for planted, text in zip(SECRETS, INNOCENT, strict=False) for line in (text, planted.text)]
    page = redact("\n".join(line for line in lines if "-----" not in line)).text
    for planted, text in zip(SECRETS, INNOCENT, strict=False):
        if "-----" not in planted.text:
            assert planted.secret not in page
        assert text in page


@pytest.mark.parametrize("joint", ["\u200b", "\u2060", "\ufeff", "\u00ad"])
def test_invisible_characters_hide_no_secret(joint: str) -> None:
    """What nobody sees is written out, which breaks the token for its user and shows it to the reader."""
    token = "ghp_" + "aB3" * 12
    hidden = outgoing(f"DB_PASSWORD=hun{joint}ter2 {joint.join(token)}", Destination.LOG)
    assert "hun" not in hidden
    assert token not in hidden.replace(joint, "")


@pytest.mark.parametrize(
    "piece",
    [
        "a", "Aa1", "token = ", 'token="', "sig=", "sig=a", "key: a", "k=AbCdEfGh1234", "name: a value: ", '{"name":"a","value":"',
        "--token ", "--a,", "Cookie: a", "cookie=", "authorization: ", "Authorization: digest ", "-----BEGIN PRIVATE KEY", "://", "://a:b@",
        "<password>", "<a", "mysql -", "curl -u ", "jdbc:oracle:thin:", "a@tcp(", "identified by '", "password '", "s.", "AKIA", "eyJ", "$2b$",
        "4111 ", "4111111111111111", "a@b.", "hooks.slack.com/services/", "LS0tLS1CRUdJTi", "sk-", "M.", "cl_", "sl_", "ibm_key=", "AC", "-us",
        "\\\"", "\\", "=", ":", "[redacted:", "x=[redacted:jwt]", "k: |\n", "secret: a ", "pass:\n", "\u200b", "[]:=",
    ],
)  # fmt: skip
def test_hostile_text_takes_time_in_proportion(piece: str) -> None:
    def seconds(size: int) -> float:
        text = (piece * (size // len(piece) + 1))[:size]
        began = time.process_time()
        redact(text)
        return time.process_time() - began

    small = min(seconds(MEBIBYTE // 16), seconds(MEBIBYTE // 16))
    assert small < 1, "not even a small text is done quickly"
    # the machine is shared: what counts is what it can do, at the second try if not at the first
    assert any(seconds(MEBIBYTE // 4) < max(8 * small, 0.1) for _ in range(2))


def test_a_private_key_whose_beginning_was_cut_off_is_masked_up_to_its_end() -> None:
    lines = ["A1b2C3d4" * 8, "E5f6G7h8" * 8, "aB3="]
    for prefix in ("", "2026-01-02T03:04:05Z stdout F "):
        cut = "\n".join(f"{prefix}{line}" for line in [*lines, "-----END RSA PRIVATE KEY-----"])
        masked = redact(f"the log begins here: ok\n{cut}\nand goes on").text
        assert not [line for line in lines if line in masked]
        assert masked.startswith("the log begins here: ok\n")
        assert masked.endswith("\nand goes on")
