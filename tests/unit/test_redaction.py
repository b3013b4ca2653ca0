"""Redaction: what is masked, what is not, and that hostile text costs no time."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cortexops.domain.redaction import redact, redact_value, secret_name

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.dozjgNryP4J3jVmNHl0w5N"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKC\n-----END RSA PRIVATE KEY-----"
_GITLAB = "glpat-" + "A1b2C3d4E5f6G7h8I9j0"
_STRIPE = "rk_live_" + "a1B2c3D4e5F6g7H8i9J0k1L2"


@pytest.mark.parametrize(
    ("kind", "text", "secret"),
    [
        ("private_key", f"key:\n{KEY}\nend", "MIIEowIBAAKC"),
        ("private_key", "-----BEGIN PRIVATE KEY-----\nMIIEcut", "MIIEcut"),
        ("url_password", "dial postgres://app:hunter2@db:5432/shop failed", "hunter2"),
        ("url_password", "redis://:s3cr3t!@cache:6379", "s3cr3t!"),
        ("url_password", "amqp://u:p@ss@mq/v", "p@ss"),
        ("bearer_token", "Authorization: Bearer abc123DEF456", "abc123DEF456"),
        ("bearer_token", "authorization basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("jwt", f"got {JWT} from peer", JWT),
        ("jwt", f"x-{JWT}", "dozjgNryP4J3jVmNHl0w5N"),
        ("aws_key", "using AKIAIOSFODNN7EXAMPLE now", "AKIAIOSFODNN7EXAMPLE"),
        ("slack_token", "xoxb-1234567890-abcdef", "xoxb-1234567890-abcdef"),
        ("github_token", "ghp_abcdefghij0123456789ABCD", "ghp_abcdefghij0123456789ABCD"),
        ("github_token", "github_pat_11ABCDEFG0abcdefghijklmn", "github_pat_11ABCDEFG0abcdefghijklmn"),
        ("api_key", "sk-proj-abcdefghijklmnop", "sk-proj-abcdefghijklmnop"),
        ("assigned_secret", "DB_PASSWORD=hunter2", "hunter2"),
        ("assigned_secret", "db.password: hunter2", "hunter2"),
        ("assigned_secret", '{"apiKey": "a b c d", "x": 1}', "a b c d"),
        ("assigned_secret", r'"{\"password\": \"hunter2\"}"', "hunter2"),
        ("assigned_secret", "url=http://x/?access_key=abcdef&y=1", "abcdef"),
        ("assigned_secret", 'password="cut off in the mid', "cut off in the mid"),
        ("assigned_secret", "//reg.local/:_authToken=npm_abcdef0123456789", "npm_abcdef0123456789"),
        ("assigned_secret", "a" * 100 + "_token=abcdef", "abcdef"),
        ("email", "mail to jane.doe@example.com bounced", "jane.doe"),
        ("card_number", "card 4111 1111 1111 1111 declined", "4111 1111"),
        ("gitlab_token", f"cloning with {_GITLAB} now", _GITLAB),
        ("stripe_key", f"charge by {_STRIPE} failed", _STRIPE),
        ("twilio_key", "SID AC" + "0a" * 16, "0a0a0a0a"),
    ],
)
def test_each_kind_of_secret_is_masked_and_counted(kind: str, text: str, secret: str) -> None:
    masked = redact(text)
    assert secret not in masked.text
    assert f"[redacted:{kind}]" in masked.text
    assert masked.counts.get(kind) == 1


@pytest.mark.parametrize(
    "line",
    [
        "2026-01-02T03:04:05.678901Z ERROR cannot connect to db.shop.svc.cluster.local:5432: connection refused",
        'level=info msg="request done" status=200 duration=13ms path=/api/v1/orders?page=2',
        "java.lang.OutOfMemoryError: Java heap space at com.shop.Cart.add(Cart.java:42)",
        "pod shop/api-7c9d4b5f6-x7k2p OOMKilled exit 137 limit=512Mi",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "image registry.example.com:5000/shop/api@sha256:0a1b2c3d4e5f",
        "basic authentication is enabled; bearer authentication is not",
        "epoch 1690000000000 and 1690000000000000007 ns",
        'parsing config value: POOL_SIZE="ten" is not a number',
        "tokenizer ready, 12 secrets mounted, password policy loaded",
        "GET http://user-service:8080/healthz 503",
        "uid 0b7e6c1e-5a4d-4e0e-9a44-0a2f8f1d2c3b generation 12",
        "retry in 5s (attempt 3/10), backoff=1.5e3",
    ],
)
def test_ordinary_log_lines_stay_as_they_are(line: str) -> None:
    assert redact(line) == (line, {})


pieces = st.sampled_from(
    [
        "token",
        "=",
        ":",
        " ",
        '"',
        "'",
        "\\",
        "\n",
        "://",
        "@",
        "a",
        "b1",
        ".com",
        "/",
        "-",
        "eyJabcdefghijk",
        ".",
        "password",
        "[redacted:jwt]",
        "[redacted:",
        "]",
        "AKIAIOSFODNN7EXAMPLE",
        "4111111111111111",
        "Bearer abc12345",
        "xoxb-1234567890",
        KEY,
        JWT,
        _GITLAB,
        "sk-abcdefghijklmnopq",
        "--token ",
        "Cookie: a=b",
        "authorization",
        "name: db_password value: ",
        "key",
        "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1x",
        "<password>",
        "</",
        "https://hooks.slack.com/services/",
        "secret: ",
        "not",
        "joe@x.com",
        ",",
        ";",
        "&",
        "kk",
        "-----BEGIN ",
    ]
)


@example("joe@x.comxoxb-1234567890joe@x.com")
@settings(max_examples=400, deadline=None)
@given(st.lists(pieces, max_size=14).map("".join) | st.text(max_size=60))
def test_masking_twice_changes_nothing(text: str) -> None:
    once = redact(text).text
    assert redact(once) == (once, {})


QUARTER = 1 << 18  # of a mebibyte
LONGEST = 2.0
"""Seconds; what is hostile by purpose takes up to one on a slow core, an ordinary log a tenth of that."""
HOSTILE = [
    "a", "token", "-eyJ", "-eyJaaaaaaaaa", "eyJaaaaaaaaaaa.", "a.", "a@", "a.1", "a@b.", "://a:b", "M", "4 ", "0a",
    'token="', "token='\\", "token = ", "k:", "-----BEGIN ", "//a/:_authToken= ", "=AKCaaaaaaaaaaaaa", "glagent-",
    "bearer ", "\\\"", " ", "x@y.zz ",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_eight_seconds_a_mebibyte_at_most(piece: str) -> None:
    redact("warm up: a=1")
    text = (piece * (QUARTER // len(piece) + 1))[:QUARTER]
    best = 10.0
    for _ in range(3):  # the machine is shared: what counts is what it can do
        began = time.process_time()
        redact(text)
        best = min(best, time.process_time() - began)
        if best < LONGEST:
            break
    assert best < LONGEST


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("DB_PASSWORD", True),
        ("dbPasswd", True),
        ("API-KEY", True),
        ("GITHUB_TOKEN", True),
        ("privateKey", True),
        ("client_secret", True),
        ("LOG_LEVEL", False),
        ("POOL_SIZE", False),
        ("secretName", False),
    ],
)
def test_names_tell_secrets(name: str, secret: bool) -> None:
    assert secret_name(name) is secret


def test_a_value_is_masked_by_its_name() -> None:
    found = redact_value(
        "", {"db_password": "hunter2", "host": "db", "list": ["a@b.com", 3], "port": 1, "n": None}
    )
    assert found == {
        "db_password": "[redacted:by_name]",
        "host": "db",
        "list": ["[redacted:email]", 3],
        "port": 1,
        "n": None,
    }


def test_an_environment_variable_is_judged_by_the_name_it_carries() -> None:
    variables = [{"name": "DB_PASSWORD", "value": "hunter2"}, {"name": "LOG_LEVEL", "value": "debug"}]
    assert redact_value("env", variables) == [
        {"name": "DB_PASSWORD", "value": "[redacted:by_name]"},
        {"name": "LOG_LEVEL", "value": "debug"},
    ]


def test_every_value_of_a_kubernetes_secret_is_masked() -> None:
    secret = {
        "kind": "Secret",
        "metadata": {"name": "db"},
        "data": {"username": "YXBw", "host": "ZGI="},
        "stringData": {"plain": "x"},
    }
    masked = redact_value("", {"items": [secret]})["items"][0]
    assert masked["metadata"] == {"name": "db"}
    assert set(masked["data"].values()) | set(masked["stringData"].values()) == {"[redacted:by_name]"}
