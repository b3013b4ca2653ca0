"""How senders show who they are: the right ones get in, and nobody else, whatever is left out or tried again."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from cortexops.domain.errors import InvalidInput
from cortexops.settings import load_settings
from ingest.sources import SOURCES, ChecksSecrets, Secrets, Unauthorised, verify
from ingest.sources.cloudwatch import is_sns_url
from tests.unit.sources.payloads import FIRING, NOW, alarm, cloudwatch, one, parse, subscription

BODY = b'{"event": {}}'
KEYS = Secrets(("old-secret-1", "new-secret-2"))
TOPIC = "arn:aws:sns:eu-west-1:123456789012:alarms"


def signature(key: str, message: bytes = BODY) -> str:
    return hmac.new(key.encode(), message, hashlib.sha256).hexdigest()


def admitted(source: str, headers: dict[str, str], body: bytes = BODY, secrets: Secrets = KEYS) -> bool:
    try:
        verify(SOURCES[source], headers, body, secrets, NOW)
    except Unauthorised as error:
        assert not any(key in str(error) for key in secrets.keys if key)
        return False
    return True


@pytest.mark.parametrize("key", KEYS.keys)
def test_pagerdutys_signature_under_any_of_the_secrets_is_right(key: str) -> None:
    assert admitted("pagerduty", {"x-pagerduty-signature": f"v1={signature(key)}"})
    both = f"v1={signature('someone-elses')},v1={signature(key)}"
    assert admitted("pagerduty", {"x-pagerduty-signature": both})


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "v1=",
        "v1",
        signature(KEYS.keys[0]),
        f"v0={signature(KEYS.keys[0])}",
        f"v1={signature('wrong')}",
        f"v1={signature(KEYS.keys[0], BODY + b' ')}",
        f"v1={signature('')}",
        "v1=é",
        "v1=" + "0" * 64,
    ],
)
def test_any_other_signature_of_pagerduty_is_wrong(shown: str) -> None:
    assert not admitted("pagerduty", {"x-pagerduty-signature": shown})


def test_a_source_that_signs_takes_no_token_instead() -> None:
    bearer = {"authorization": f"Bearer {KEYS.keys[0]}"}
    assert not admitted("pagerduty", bearer)
    assert not admitted("grafana", bearer)


def test_grafana_signs_the_body_or_time_and_body() -> None:
    key, stamp = KEYS.keys[1], str(int(NOW.timestamp()))
    stamped = signature(key, stamp.encode() + b":" + BODY)
    assert admitted("grafana", {"x-grafana-alerting-signature": signature(key)})
    headers = {"x-grafana-alerting-signature": stamped, "x-grafana-alerting-timestamp": stamp}
    assert admitted("grafana", headers)
    assert not admitted("grafana", {"x-grafana-alerting-signature": stamped})
    assert not admitted("grafana", {**headers, "x-grafana-alerting-timestamp": str(int(stamp) + 1)})
    assert not admitted("grafana", {})


@pytest.mark.parametrize(
    ("seconds", "right"), [(0, True), (-299, True), (-301, False), (299, True), (301, False)]
)
def test_a_signed_request_of_grafana_is_good_for_five_minutes(seconds: int, right: bool) -> None:
    stamp = str(int(NOW.timestamp()) + seconds)
    shown = signature(KEYS.keys[0], stamp.encode() + b":" + BODY)
    headers = {"x-grafana-alerting-signature": shown, "x-grafana-alerting-timestamp": stamp}
    assert admitted("grafana", headers) is right


@pytest.mark.parametrize("stamp", ["soon", "", "-1", "9" * 30, "nan"])
def test_a_signed_time_that_is_none_is_refused(stamp: str) -> None:
    shown = signature(KEYS.keys[0], stamp.encode() + b":" + BODY)
    headers = {"x-grafana-alerting-signature": shown, "x-grafana-alerting-timestamp": stamp}
    assert not admitted("grafana", headers)


def _basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"sns:{password}".encode()).decode()


TOKENS: list[Callable[[str], dict[str, str]]] = [
    lambda token: {"authorization": f"Bearer {token}"},
    lambda token: {"authorization": f"bearer  {token} "},
    lambda token: {"authorization": _basic(token)},
    lambda token: {"x-cortexops-token": token},
]


@pytest.mark.parametrize("source", [*sorted(set(FIRING) - {"pagerduty", "grafana"}), "kubernetes"])
@pytest.mark.parametrize("show", TOKENS)
def test_all_other_senders_show_a_token(source: str, show: Callable[[str], dict[str, str]]) -> None:
    assert admitted(source, show(KEYS.keys[0]))
    assert admitted(source, show(KEYS.keys[1]))
    for wrong in ("", "wrong", KEYS.keys[0][:-1], KEYS.keys[0] + "x", "é"):
        assert not admitted(source, show(wrong))


@pytest.mark.parametrize("source", SOURCES.kinds)
@settings(max_examples=settings().max_examples // 3)
@given(
    headers=st.dictionaries(
        st.sampled_from(
            ["authorization", "x-cortexops-token", "x-pagerduty-signature", "x-grafana-alerting-signature"]
        ),
        st.text(max_size=80) | st.text(max_size=30).map(lambda t: f"Basic {t}"),
    )
)
def test_without_secrets_or_with_guesses_nobody_gets_in(source: str, headers: dict[str, str]) -> None:
    assert not admitted(source, headers, secrets=Secrets())
    assert not admitted(source, headers, secrets=Secrets(("",)))
    assert not admitted(source, headers)


def test_secrets_do_not_show_in_what_is_printed() -> None:
    assert "old-secret" not in repr(KEYS)


# -- SNS -----------------------------------------------------------------------------------------------


class Signer:
    """Amazon's part: a certificate and its key."""

    def __init__(self, *, days: int = 30) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(NOW - timedelta(days=60))
            .not_valid_after(NOW + timedelta(days=days))
            .sign(self._key, hashes.SHA256())
        )
        self.pem = certificate.public_bytes(serialization.Encoding.PEM)

    def sign(self, message: dict[str, Any], version: str = "2") -> bytes:
        fields = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        text = "".join(f"{name}\n{message[name]}\n" for name in fields if name in message)
        algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()
        raw = self._key.sign(text.encode(), padding.PKCS1v15(), algorithm)
        signed = {**message, "SignatureVersion": version, "Signature": base64.b64encode(raw).decode()}
        return json.dumps(signed).encode()


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


def pinned(*signers: Signer, keys: tuple[str, ...] = (), topics: tuple[str, ...] = (TOPIC,)) -> Secrets:
    return Secrets(keys, tuple(one.pem for one in signers), topics)


def notification(**changes: Any) -> dict[str, Any]:
    return cloudwatch() | {"Timestamp": "2026-03-01T12:05:00.000Z"} | changes


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("message", [notification(), subscription()])
def test_messages_that_sns_signed_get_in(signer: Signer, version: str, message: dict[str, Any]) -> None:
    assert admitted("cloudwatch", {}, signer.sign(message, version), pinned(signer))
    assert admitted("cloudwatch", {}, signer.sign(message, version), pinned(Signer(), signer))


def test_a_message_without_a_subject_is_signed_without_one(signer: Signer) -> None:
    message = {key: value for key, value in notification().items() if key != "Subject"}
    assert admitted("cloudwatch", {}, signer.sign(message), pinned(signer))


@pytest.mark.parametrize(
    "change",
    [
        {"Message": "{}"},
        {"MessageId": "x"},
        {"Subject": "other"},
        {"Timestamp": "2026-03-01T12:06:00.000Z"},
        {"TopicArn": "arn:aws:sns:eu-west-1:666666666666:alarms"},
        {"Type": "SubscriptionConfirmation"},
        {"SignatureVersion": "1"},
        {"SignatureVersion": "3"},
        {"Signature": "bm9uZQ=="},
        {"Signature": "***"},
        {"Signature": None},
        {"SigningCertURL": "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem"},
        {"SigningCertURL": None},
    ],
)
def test_a_message_that_was_changed_after_signing_does_not(signer: Signer, change: dict[str, Any]) -> None:
    body = json.loads(signer.sign(notification())) | change
    assert not admitted("cloudwatch", {}, json.dumps(body).encode(), pinned(signer))


def test_what_is_put_beside_a_signed_message_is_not_read(signer: Signer) -> None:
    forged = json.loads(signer.sign(notification())) | alarm() | {"AlarmName": "forged"}
    assert admitted("cloudwatch", {}, json.dumps(forged).encode(), pinned(signer))
    assert one("cloudwatch", forged).name == "pod-memory-high"
    confirmation = json.loads(signer.sign(subscription())) | alarm()
    assert parse("cloudwatch", confirmation).signals == []


def test_sns_signs_for_everybody_so_other_peoples_topics_do_not_get_in(signer: Signer) -> None:
    other = signer.sign(notification(TopicArn="arn:aws:sns:eu-west-1:666666666666:alarms"))
    assert not admitted("cloudwatch", {}, other, pinned(signer))
    assert not admitted("cloudwatch", {}, signer.sign(notification()), pinned(signer, topics=()))


def test_old_messages_and_expired_certificates_do_not_get_in(signer: Signer) -> None:
    old = signer.sign(notification(Timestamp="2026-03-01T11:09:00.000Z"))
    assert not admitted("cloudwatch", {}, old, pinned(signer))
    expired = Signer(days=-1)
    assert not admitted("cloudwatch", {}, expired.sign(notification()), pinned(expired))
    assert not admitted("cloudwatch", {}, Signer().sign(notification()), pinned(signer))


def test_with_a_certificate_pinned_a_token_alone_is_not_enough(signer: Signer) -> None:
    secrets = pinned(signer, keys=KEYS.keys)
    bearer = {"authorization": f"Bearer {KEYS.keys[0]}"}
    body = signer.sign(notification())
    assert admitted("cloudwatch", bearer, body, secrets)
    assert not admitted("cloudwatch", {}, body, secrets)
    assert not admitted("cloudwatch", bearer, json.dumps(notification()).encode(), secrets)
    assert not admitted("cloudwatch", bearer, FIRING["cloudwatch"]()["Message"].encode(), secrets)


@given(body=st.binary(max_size=60) | st.sampled_from([b"[]", b"{}", b'{"Type": []}', b"[" * 5000]))
def test_what_is_no_message_of_sns_is_refused_and_not_fatal(body: bytes) -> None:
    assert not admitted("cloudwatch", {}, body, Secrets((), (b"unused",), (TOPIC,)))


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("https://sns.eu-west-1.amazonaws.com/a.pem", True),
        ("https://sns.cn-north-1.amazonaws.com.cn/a.pem", True),
        ("http://sns.eu-west-1.amazonaws.com/a.pem", False),
        ("https://sns.eu-west-1.amazonaws.com:8443/a.pem", False),
        ("https://sns.eu-west-1.amazonaws.com@evil.example/a.pem", False),
        ("https://evil.example/?sns.eu-west-1.amazonaws.com", False),
        ("https://snsXeu-west-1.amazonaws.com/", False),
        ("https://sns.a.b.amazonaws.com/", False),
        ("https://[sns.eu-west-1.amazonaws.com/", False),
        (None, False),
    ],
)
def test_only_addresses_of_sns_itself_count(url: Any, right: bool) -> None:
    assert is_sns_url(url) is right


def test_a_file_that_is_no_certificate_is_found_at_start(signer: Signer) -> None:
    source = SOURCES["cloudwatch"]
    assert isinstance(source, ChecksSecrets)
    source.check_secrets(pinned(signer))
    with pytest.raises(InvalidInput, match="sns_certificates"):
        source.check_secrets(Secrets((), (b"hello",), (TOPIC,)))


# -- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "section",
    [
        {"source_secrets": {"pagerduty": []}},
        {"source_secrets": {"pagerduty": [""]}},
        {"source_secrets": {"pagerduty": ["short"]}},
        {"sns_certificates": ["/etc/sns.pem"]},
        {"default_cluster": "a b"},
    ],
)
def test_half_a_configuration_is_refused(section: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match="gateway") as caught:
        load_settings(gateway=section)
    assert "short" not in str(caught.value).removeprefix("gateway")


def test_secrets_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEXOPS_GATEWAY__SOURCE_SECRETS", '{"pagerduty": ["secret-one", "secret-two"]}')
    loaded = load_settings()
    assert [one.get_secret_value() for one in loaded.gateway.source_secrets["pagerduty"]] == [
        "secret-one",
        "secret-two",
    ]
    assert "secret-one" not in repr(loaded)
