"""Words about time and about peers' certificates, and what is not meant by like words."""

from __future__ import annotations

import pytest

from cortexops.domain.kubernetes import certificate_words, clocks, meta
from cortexops.domain.kubernetes.nodes import problems


@pytest.mark.parametrize(
    "line",
    [
        "jwt.exceptions.ImmatureSignatureError: The token is not yet valid (iat)",
        "token rejected: token used before issued",
        'WARN "nbf" claim 1767 is not yet valid: now 1700',
        "An error occurred (RequestTimeTooSkewed) when calling the PutObject operation",
        "Token was issued in the future",
        "GSS failure: Clock skew too great",
    ],
)
def test_complaints_about_the_time_are_known(line: str) -> None:
    assert clocks.about_time([line])


@pytest.mark.parametrize(
    "line",
    [
        "token is expired by 3h12m",
        "order 44 was created before the payment was issued",
        "certificate signed by unknown authority",
        "clock tick 20 ms",
        "event scheduled for the future",
    ],
)
def test_other_complaints_are_none_about_the_time(line: str) -> None:
    assert not clocks.about_time([line])


@pytest.mark.parametrize(
    ("kind", "status", "of_clock"),
    [
        ("NTPProblem", "True", True),
        ("ClockSkew", "True", True),
        ("ClockSynchronized", "False", True),
        ("KernelDeadlock", "True", False),
    ],
)
def test_detectors_name_a_wrong_clock_in_several_ways(kind: str, status: str, of_clock: bool) -> None:
    node = {"status": {"conditions": [{"type": kind, "status": status}]}}
    assert [clocks.is_of_clock(each) for each in problems(node)] == [of_clock]


@pytest.mark.parametrize(("kind", "status"), [("NTPProblem", "False"), ("ClockSynchronized", "True")])
def test_a_clock_that_is_kept_right_is_no_problem(kind: str, status: str) -> None:
    assert problems({"status": {"conditions": [{"type": kind, "status": status}]}}) == []
    assert not clocks.is_of_clock(meta.Condition("KernelDeadlock", "True", "", "", None))


@pytest.mark.parametrize(
    "line",
    [
        "Caused by: java.security.cert.CertificateExpiredException: NotAfter: Sat Nov 21 16:49:33 UTC 2026",
        "x509: certificate has expired or is not yet valid: current time is after 2026-03-10",
        "reason: certificate has expired",
        "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)",
    ],
)
def test_an_expired_certificate_of_a_peer_is_known_by_the_words_of_many_libraries(line: str) -> None:
    assert certificate_words.expired([line]) == [line]


def test_what_a_peer_says_of_our_certificate_is_not_about_its_own() -> None:
    line = "http: TLS handshake error from 10.0.0.1:4: remote error: tls: expired certificate"
    assert certificate_words.expired([line]) == []
    assert certificate_words.refused_by_peer([line]) == [line]


def test_the_host_is_taken_from_the_record_that_the_complaint_stands_in() -> None:
    lines = [
        'I/O error on POST request for "https://pay.bank.svc:8443/c": PKIX path validation failed',
        "    at sun.security.Validator",
        "Caused by: java.security.cert.CertificateExpiredException: NotAfter: Sat Nov 21 16:49:33 UTC 2026",
    ]
    assert certificate_words.shown_by(lines) == {lines[2]: ("pay.bank.svc",)}


def test_a_complaint_without_any_host_names_nobody() -> None:
    assert certificate_words.shown_by(["certificate has expired"]) == {"certificate has expired": ()}
