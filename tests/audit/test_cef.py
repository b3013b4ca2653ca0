"""CEF lines: escaped exactly, whatever is in an event, and one line each."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortexops.domain.audit import AuditEntry, AuditEvent, AuditType, resting, seal
from cortexops.domain.audit_export import ExportFormat, export_line
from cortexops.domain.cef import SEVERITIES, cef_line, extension, header


def an_event(**changes: Any) -> AuditEvent:
    base: dict[str, Any] = {
        "chain": "INC-20260102-001",
        "type": AuditType.POLICY_VIOLATION,
        "reason": "freeze",
        "detail": "denied: a=b | c\\d\nsecond\r\nthird",
        "actor": "ann|admin=1",
        "at": datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC),
        "data": {"rule": "freeze"},
        "idempotency_key": "k",
    }
    return seal(resting(AuditEntry(**{**base, **changes})), number=7, previous_hash="0" * 64)


def unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m.group(1), m.group(1)), text)


def parsed(line: str) -> tuple[list[str], dict[str, str]]:
    """As a SIEM reads it: seven header fields, then keys and values."""
    parts: list[str] = []
    field, n = "", 0
    while n < len(line) and len(parts) < 7:
        if line[n] == "\\":
            field += line[n + 1]
            n += 2
        elif line[n] == "|":
            parts.append(field)
            field = ""
            n += 1
        else:
            field += line[n]
            n += 1
    found = re.findall(r"(\w+)=((?:\\.|[^\\=])*?)(?= \w+=|$)", line[n:])
    return parts, {key: unescaped(value) for key, value in found}


def test_a_line_in_full() -> None:
    event = an_event()
    line = cef_line(12, event, version="1.2|3")
    start = (
        "CEF:0|CortexOps|CortexOps|1.2\\|3|policy_violation|policy violation: freeze|8|"
        "rt=1767323045678 suser=ann|admin\\=1 act=policy_violation reason=freeze externalId=INC-20260102-001 "
        "cn1Label=sequence cn1=7 cn2Label=cursor cn2=12 "
    )
    assert line.startswith(start)
    assert line.endswith("msg=denied: a\\=b | c\\\\d\\nsecond\\r\\nthird")
    assert f"cs1={event.hash}" in line and f"cs3={event.inputs}" in line
    fields = parsed(line)[1]
    assert fields["msg"] == event.detail
    assert fields["cs4"] == '{"rule":"freeze"}'


@pytest.mark.parametrize(
    ("text", "head", "tail"),
    [
        ("a|b", "a\\|b", "a|b"),
        ("a=b", "a=b", "a\\=b"),
        ("a\\b", "a\\\\b", "a\\\\b"),
        ("a\\|b", "a\\\\\\|b", "a\\\\|b"),
        ("a\nb", "a b", "a\\nb"),
        ("a\r\nb", "a b", "a\\r\\nb"),
        ("a\u2028b\x00c", "a b c", "a\\nb c"),
        ("", "", ""),
    ],
)
def test_header_and_extension_have_their_own_rules(text: str, head: str, tail: str) -> None:
    assert (header(text), extension(text)) == (head, tail)


_text = st.text(st.sampled_from("ab |=\\\n\r\t\x00\u2028é"), max_size=30)


@given(_text, _text, _text)
def test_whatever_is_said_it_is_one_line_that_reads_back(detail: str, actor: str, reason: str) -> None:
    event = an_event(detail=detail, actor=actor, reason=reason)
    line = cef_line(1, event, version="1")
    assert len(line.splitlines()) == 1
    head, fields = parsed(line)
    assert head[:4] == ["CEF:0", "CortexOps", "CortexOps", "1"]
    assert fields["cn2"] == "1" and fields["cs1"] == event.hash
    plain = detail.replace("\x00", " ").replace("\u2028", "\n")
    assert fields.get("msg", "").rstrip() == plain.rstrip()


def test_every_type_has_a_severity() -> None:
    for type_ in AuditType:
        severity = int(parsed(cef_line(1, an_event(type=type_), version="1"))[0][6])
        assert 0 <= severity <= 10
        assert severity == SEVERITIES.get(type_, severity)


@pytest.mark.parametrize("form", list(ExportFormat))
def test_secrets_do_not_leave_and_it_is_said_that_something_was_masked(form: ExportFormat) -> None:
    secret = "AKIAIOSFODNN7EXAMPLE"
    line = export_line(
        1, an_event(detail=f"key {secret}", data={"password": "hunter2hunter2"}), form, version="1"
    )
    assert secret not in line and "hunter2hunter2" not in line
    assert ('"redacted": true' in line) or ("cs5=true" in line)
    plain = export_line(1, an_event(detail="nothing to hide"), form, version="1")
    assert '"redacted"' not in plain and "cs5=true" not in plain


def test_long_texts_are_cut_at_the_formats_limits() -> None:
    fields = parsed(cef_line(1, an_event(detail="x" * 5000, data={"t": "y" * 9000}), version="1"))[1]
    assert len(fields["msg"]) == 1023 and len(fields["cs4"]) == 4000
