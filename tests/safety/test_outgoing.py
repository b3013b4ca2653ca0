"""The gate: masks, counts, and lets nothing through when it cannot check."""

# ruff: noqa: E501 - texts as they occur
from __future__ import annotations

import base64
from collections import Counter
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain import outgoing as gate
from cortexops.domain.errors import PermanentError
from cortexops.domain.known_secrets import KnownSecrets
from cortexops.domain.outgoing import Destination, Withheld, outgoing, outgoing_texts, outgoing_value
from cortexops.metrics import REDACTIONS, count_masked

TOKEN = "ghp_" + "aB3" * 12


@pytest.mark.parametrize("destination", Destination)
def test_secrets_are_masked_on_every_way_out_and_counted(destination: Destination) -> None:
    counted: Counter[str] = Counter()
    text = outgoing(f"password=hunter2 {TOKEN}", destination, count=lambda kind, n: counted.update({kind: n}))
    assert text == "password=[redacted:assigned_secret] [redacted:github_token]"
    assert counted == {"assigned_secret": 1, "github_token": 1}


def test_the_metric_counts_what_the_gate_masks() -> None:
    before = REDACTIONS.labels(kind="github_token")._value.get()
    outgoing(TOKEN, Destination.LOG, count=count_masked)
    assert REDACTIONS.labels(kind="github_token")._value.get() == before + 1


@pytest.mark.parametrize(
    "error",
    [ValueError, TypeError, RecursionError, RuntimeError, ZeroDivisionError, KeyError, AttributeError, MemoryError, ImportError, OSError,
     UnicodeError, AssertionError],
)  # fmt: skip
@pytest.mark.parametrize("destination", Destination)
def test_nothing_leaves_when_masking_fails(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], destination: Destination
) -> None:
    def broken(text: str) -> None:
        raise error(text)

    monkeypatch.setattr(gate, "redact", broken)
    for way in (outgoing, outgoing_value, outgoing_texts):
        with pytest.raises(Withheld) as raised:
            way("secret text", destination)
        assert "secret text" not in str(raised.value)
        assert raised.value.__cause__ is None
        assert raised.value.__suppress_context__
    assert issubclass(Withheld, PermanentError)


def test_a_structure_too_deep_to_be_checked_is_withheld() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(Withheld):
        outgoing_value(deep, Destination.LOG)
    with pytest.raises(Withheld):
        outgoing_texts(deep, Destination.REPORT)


def test_what_stands_under_a_secret_name_goes_whole() -> None:
    counted: Counter[str] = Counter()
    value = {
        "db_password": "x y z",
        "env": [{"name": "API_TOKEN", "value": "abc"}],
        "n": 3,
        "log": f"got {TOKEN}",
    }
    masked = outgoing_value(value, Destination.AUDIT, count=lambda kind, n: counted.update({kind: n}))
    assert masked == {
        "db_password": "[redacted:by_name]",
        "env": [{"name": "API_TOKEN", "value": "[redacted:by_name]"}],
        "n": 3,
        "log": "got [redacted:github_token]",
    }
    assert counted == {"by_name": 2, "github_token": 1}


@given(st.text(max_size=80))
def test_passing_the_gate_twice_changes_nothing(text: str) -> None:
    once = outgoing(text, Destination.PROMPT)
    assert outgoing(once, Destination.PROMPT) == once


def _known(**data: str) -> KnownSecrets:
    known = KnownSecrets()
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    known.learn({"kind": "Secret", "data": encoded})
    return known


VALUE = "violet otter/sings+41"


@pytest.mark.parametrize(
    "form",
    [
        VALUE, VALUE[::-1], quote(VALUE, safe=""), VALUE.encode().hex(), base64.b64encode(VALUE.encode()).decode(),
        base64.urlsafe_b64encode(VALUE.encode()).decode().rstrip("="), base64.b64encode(f"me:{VALUE}".encode()).decode()[4:],
        base64.b64encode(f"a:{VALUE}!".encode()).decode(),
    ],
)  # fmt: skip
def test_a_secret_that_was_read_is_masked_in_every_writing(form: str) -> None:
    counted: Counter[str] = Counter()
    text = outgoing(
        f"saw {form} there",
        Destination.REPORT,
        known=_known(k=VALUE),
        count=lambda k, n: counted.update({k: n}),
    )
    assert "[redacted:known_secret]" in text
    assert counted["known_secret"] == 1
    assert not [form[i : i + 12] for i in range(4, len(form) - 16) if form[i : i + 12] in text]


def test_every_line_of_a_secret_file_is_masked_and_its_json_is_taken_apart() -> None:
    known = _known(
        file="first-line-of-it\nsecond-line-of-it",
        json='{"auths": {"r": {"auth": "bWU6bGFudGVybm1vc3M=", "password": "lanternmoss"}}}',
    )
    for part in ("second-line-of-it", "lanternmoss", "bWU6bGFudGVybm1vc3M="):
        assert part not in outgoing(f"log {part} end", Destination.LOG, known=known)


def test_what_everybody_may_read_is_no_secret() -> None:
    known = _known(
        username="accounts", host="accounts-db", port="5432", password="till-db", flag="true", short="abc"
    )
    known.spare("till-db")
    text = "accounts-db:5432 of accounts and till-db is true for abc"
    assert outgoing(text, Destination.REPORT, known=known) == text


def test_variables_arguments_and_addresses_teach_secrets() -> None:
    known = KnownSecrets()
    known.learn(
        {
            "kind": "Deployment",
            "spec": {"containers": [{
                "env": [{"name": "DB_PASSWORD", "value": "lanternmoss"}, {"name": "URL", "value": "amqp://u:brassowlet@mq"}],
                "args": ["--admin-password", "copperlynx", "--api-token=opalsparrow", "--mode", "production-like"],
            }]},
        }
    )  # fmt: skip
    known.learn({"kind": "ConfigMap", "data": {"SESSION_SECRET": "granitefox", "LEVEL": "informational"}})
    text = "lanternmoss brassowlet copperlynx opalsparrow granitefox production-like informational"
    masked = outgoing(text, Destination.LOG, known=known)
    assert masked == " ".join(["[redacted:known_secret]"] * 5 + ["production-like", "informational"])


def test_known_secrets_are_not_shown_by_accident() -> None:
    known = _known(k=VALUE)
    assert VALUE not in repr(known)
    assert len(known) > 0
