"""What must never leave: secrets and personal data are masked before chat, audit, memory, prompt or log.

Masks name the kind (`[redacted:aws_key]`), so a reader knows that something was there. Any failure in here
raises: callers then send nothing (fail closed).
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Any, NamedTuple

_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "private_key",
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
        ),
    ),
    ("url_password", re.compile(r"(?<=://)([^\s/:@]*):([^\s/@]+)(?=@)")),
    ("bearer_token", re.compile(r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")),
    ("jwt", re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*")),
    ("aws_key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("slack_token", re.compile(r"\bxox[abeprs]-[A-Za-z0-9-]{10,}")),
    ("github_token", re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}")),
    ("api_key", re.compile(r"\bsk-[A-Za-z0-9_-]{16,}")),
    (
        "assigned_secret",
        re.compile(
            r"(?i)([\"']?[\w.-]*(?:passw(?:or)?d|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|credential)"
            r"[\w.-]*[\"']?\s*[:=]\s*)(\"[^\"]{3,}\"|'[^']{3,}'|[^\s,;&\"']{3,})"
        ),
    ),
    ("email", re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b")),
    ("card_number", re.compile(r"\b(?:\d[ -]?){13,19}\b")),
)

_SECRET_NAME = re.compile(r"(?i)(passw|pwd|secret|token|api[_-]?key|access[_-]?key|credential|private)")


class Redacted(NamedTuple):
    """The masked text and how many values of each kind were masked."""

    text: str
    counts: dict[str, int]


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def redact(text: str) -> Redacted:
    """Mask every secret and personal datum that is recognised. Masking twice changes nothing."""
    counts: Counter[str] = Counter()

    for kind, pattern in _PATTERNS:

        def mask(match: re.Match[str], kind: str = kind) -> str:
            whole = match.group(0)
            if "[redacted:" in whole:
                return whole
            if kind == "card_number" and not _luhn(re.sub(r"\D", "", whole)):
                return whole
            counts[kind] += 1
            if kind == "url_password":
                return f"{match.group(1)}:[redacted:{kind}]"
            if kind == "assigned_secret":
                return f"{match.group(1)}[redacted:{kind}]"
            return f"[redacted:{kind}]"

        text = pattern.sub(mask, text)
    for secret in _detected(text):
        if secret in text:
            text = text.replace(secret, "[redacted:high_entropy]")
            counts["high_entropy"] += 1
    return Redacted(text, dict(counts))


@lru_cache(maxsize=1)
def _detectors() -> tuple[Any, ...]:
    from detect_secrets.plugins.artifactory import ArtifactoryDetector
    from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
    from detect_secrets.plugins.discord import DiscordBotTokenDetector
    from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
    from detect_secrets.plugins.mailchimp import MailchimpDetector
    from detect_secrets.plugins.npm import NpmDetector
    from detect_secrets.plugins.sendgrid import SendGridDetector
    from detect_secrets.plugins.stripe import StripeDetector
    from detect_secrets.plugins.twilio import TwilioKeyDetector

    return (
        ArtifactoryDetector(), AzureStorageKeyDetector(), DiscordBotTokenDetector(), GitLabTokenDetector(),
        MailchimpDetector(), NpmDetector(), SendGridDetector(), StripeDetector(), TwilioKeyDetector(),
    )  # fmt: skip


def _detected(text: str) -> set[str]:
    """What detect-secrets' detectors of well-known token formats find."""
    found: set[str] = set()
    for line in text.splitlines():
        for detector in _detectors():
            for secret in detector.analyze_string(line):
                if isinstance(secret, str) and len(secret) >= 8 and "[redacted:" not in secret:
                    found.add(secret)
    return found


def secret_name(name: str) -> bool:
    """Whether a value under this name (environment variable, key) is to be treated as secret."""
    return bool(_SECRET_NAME.search(name))


def redact_value(name: str, value: Any) -> Any:
    """A structure with every string in it masked; values under secret names are masked whole."""
    if isinstance(value, str):
        return "[redacted:by_name]" if value and secret_name(name) else redact(value).text
    if isinstance(value, dict):
        return {key: redact_value(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_value(name, inner) for inner in value]
    return value
