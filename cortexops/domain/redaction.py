"""What must never leave: secrets and personal data are masked before chat, audit, memory, prompt or log.

Masks name the kind (`[redacted:aws_key]`), so a reader knows that something was there. Any failure in here
raises: callers then send nothing (fail closed). The text is hostile (a pod writes its own logs), so every
pattern takes time linear in it: runs are matched possessively, from their beginning only, or are bounded.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

_SIMPLE: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "private_key",
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----"
            r".*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
    ),
    ("url_password", re.compile(r"(?<=://)([^\s/:@]*+):([^\s/]+)(?=@)")),
    ("bearer_token", re.compile(r"(?i)\b(?:bearer|basic)\s++([A-Za-z0-9._~+/=-]{8,}+)")),
)
_JWT_START = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{11,}+(?=\.[A-Za-z0-9_-]{8,}+\.)")
_JWT_REST = re.compile(r"\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]*+")
_JWT_HEADER = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}")
_TOKENS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("aws_key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("slack_token", re.compile(r"\bxox[abeprs]-[A-Za-z0-9-]{10,}+")),
    ("github_token", re.compile(r"\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{20,}+")),
    ("api_key", re.compile(r"\bsk-[A-Za-z0-9_-]{16,}+")),
)
_KEY = re.compile(r"(?<![\w.-])[\w.-]++(?=\\?[\"']?\s*+[:=])")
_SEPARATOR = re.compile(r"\\?[\"']?\s*+[:=]\s*+")
_VALUE = re.compile(
    r"\\\"(?:[^\"\\\n]){3,}+|\"(?:[^\"\\\n]|\\.){3,}+\"?|'(?:[^'\\\n]|\\.){3,}+'?|[^\s,;&\"']{3,}+"
)
_PERSONAL: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "email",
        re.compile(
            r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]++@[A-Za-z0-9-]++(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b"
        ),
    ),
    ("card_number", re.compile(r"\b[2-6](?:[ -]?[0-9]){12,18}\b")),
)

_SECRET_NAME = re.compile(r"(?i)(passw|pwd|secret|token|api[_-]?key|access[_-]?key|credential|private)")
_SECRET_KEY = re.compile(r"(?i)(passw|pwd|secret|token|api[_-]?key|access[_-]?key|credential)")
_NO_SECRETS = frozenset({"secretName"})
"""Names that speak of a secret and hold only where it is."""
_PASSES = 5
_NEEDED: dict[str, tuple[str, ...]] = {
    "private_key": ("PRIVATE KEY",),
    "url_password": ("://",),
    "aws_key": ("AKIA", "ASIA"),
    "slack_token": ("xox",),
    "github_token": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
    "api_key": ("sk-",),
    "email": ("@",),
}
"""Without one of these parts there is nothing of the kind: most text is done quickly."""
_MASK = re.compile(r"[\"'\\]{0,2}\[redacted:[a-z_]+\][\"'\\]{0,2}")


class Redacted(NamedTuple):
    """The masked text and how many values of each kind were masked."""

    text: str
    counts: dict[str, int]


def redact(text: str) -> Redacted:
    """Mask every secret and personal datum that is recognised. Masking twice changes nothing.

    Takes time linear in the text, whatever is in it.
    """
    counts: Counter[str] = Counter()
    for _ in range(_PASSES):  # a mask ends the word before it, which may show one more
        before = text
        text = _masked_once(text, counts)
        if text == before:
            break
    return Redacted(text, dict(counts))


def _masked_once(text: str, counts: Counter[str]) -> str:
    for parts, pattern in _known_formats():
        if any(part in text for part in parts):
            text = _substituted("high_entropy", pattern, text, counts)
    for kind, pattern in _SIMPLE:
        text = _substituted(kind, pattern, text, counts)
    text = _without_jwts(text, counts)
    for kind, pattern in _TOKENS:
        text = _substituted(kind, pattern, text, counts)
    text = _without_assigned(text, counts)
    for kind, pattern in _PERSONAL:
        text = _substituted(kind, pattern, text, counts)
    return text


def _substituted(kind: str, pattern: re.Pattern[str], text: str, counts: Counter[str]) -> str:
    needed = _NEEDED.get(kind)
    if needed and not any(part in text for part in needed):
        return text
    replace = _REPLACEMENTS.get(kind, _whole)

    def mask(match: re.Match[str]) -> str:
        masked = replace(match, f"[redacted:{kind}]")
        if masked is None:
            return match.group(0)
        counts[kind] += 1
        return masked

    return pattern.sub(mask, text)


def _whole(_: re.Match[str], mask: str) -> str | None:
    return mask


def _url(match: re.Match[str], mask: str) -> str | None:
    return None if "[redacted:" in match.group(0) else f"{match.group(1)}:{mask}"


def _bearer(match: re.Match[str], mask: str) -> str | None:
    """A token has something else than small letters: `basic authentication` is no secret."""
    return None if re.fullmatch(r"[a-z]+[.]?", match.group(1)) else mask


def _card(match: re.Match[str], mask: str) -> str | None:
    total = 0
    for place, digit in enumerate(reversed(re.sub(r"\D", "", match.group(0)))):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return mask if total % 10 == 0 else None


def _delimited(match: re.Match[str], mask: str) -> str | None:
    """Some of the detectors' patterns take the character before and after the token with them."""
    whole = match.group(0)
    if "[redacted:" in whole:
        return None
    token = whole.strip(' \t\r\n\f\v"=:')
    before, _, after = whole.partition(token)
    return f"{before}{mask}{after}"


_REPLACEMENTS: dict[str, Callable[[re.Match[str], str], str | None]] = {
    "url_password": _url,
    "bearer_token": _bearer,
    "card_number": _card,
    "high_entropy": _delimited,
}


def _without_jwts(text: str, counts: Counter[str]) -> str:
    """A JWT is looked for once in each run of its characters, however often `eyJ` stands in the run."""
    if "eyJ" not in text:
        return text
    out: list[str] = []
    here = 0
    for match in _JWT_START.finditer(text):
        if match.start() < here:
            continue
        header = _JWT_HEADER.search(match.group(0))
        rest = _JWT_REST.match(text, match.end())
        if header is None or rest is None:
            continue
        out += [text[here : match.start() + header.start()], "[redacted:jwt]"]
        here = rest.end()
        counts["jwt"] += 1
    return "".join([*out, text[here:]])


def _without_assigned(text: str, counts: Counter[str]) -> str:
    """`PASSWORD=…`, `"apiKey": "…"`, `token: …`: the value goes, the name stays."""
    out: list[str] = []
    here = 0
    for key in _KEY.finditer(text):
        if key.start() < here or not _SECRET_KEY.search(key.group(0)):
            continue
        separator = _SEPARATOR.match(text, key.end())
        value = _VALUE.match(text, separator.end()) if separator else None
        if value is None or _MASK.fullmatch(value.group(0)):
            continue
        out += [text[here : value.start()], "[redacted:assigned_secret]"]
        here = value.end()
        counts["assigned_secret"] += 1
    return "".join([*out, text[here:]])


@lru_cache(maxsize=1)
def _known_formats() -> tuple[tuple[tuple[str, ...], re.Pattern[str]], ...]:
    """Token formats that detect-secrets knows, each with the parts of which it has one.

    Its npm pattern is left out: it takes quadratic time on long lines and finds nothing that an assignment
    to `_authToken` does not show.
    """
    from detect_secrets.plugins.artifactory import ArtifactoryDetector
    from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
    from detect_secrets.plugins.discord import DiscordBotTokenDetector
    from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
    from detect_secrets.plugins.mailchimp import MailchimpDetector
    from detect_secrets.plugins.sendgrid import SendGridDetector
    from detect_secrets.plugins.stripe import StripeDetector
    from detect_secrets.plugins.twilio import TwilioKeyDetector

    detectors: tuple[tuple[tuple[str, ...], Any], ...] = (
        (("AKC", "AP"), ArtifactoryDetector),
        (("AccountKey=",), AzureStorageKeyDetector),
        (("M", "N", "O"), DiscordBotTokenDetector),
        (("gl", "GR1348941"), GitLabTokenDetector),
        (("-us",), MailchimpDetector),
        (("SG.",), SendGridDetector),
        (("k_live_",), StripeDetector),
        (("AC", "SK"), TwilioKeyDetector),
    )
    return tuple((parts, pattern) for parts, detector in detectors for pattern in detector.denylist)


def secret_name(name: str) -> bool:
    """Whether a value under this name (environment variable, key) is to be treated as secret."""
    return name not in _NO_SECRETS and bool(_SECRET_NAME.search(name))


def redact_value(name: str, value: Any) -> Any:
    """A structure with every string in it masked; strings under secret names are masked whole.

    An environment variable (`{"name": …, "value": …}`) is judged by the name that it carries, and of a
    Kubernetes Secret every value is masked.
    """
    if isinstance(value, str):
        return "[redacted:by_name]" if value and secret_name(name) else redact(value).text
    if isinstance(value, dict):
        variable = value.get("name")
        masked = {}
        for key, inner in value.items():
            under = f"{variable}" if key == "value" and isinstance(variable, str) else str(key)
            masked[key] = redact_value(under, inner)
        if value.get("kind") == "Secret":
            masked |= {key: _all_masked(value[key]) for key in ("data", "stringData") if key in value}
        return masked
    if isinstance(value, list | tuple):
        return [redact_value(name, inner) for inner in value]
    return value


def _all_masked(values: Any) -> Any:
    if not isinstance(values, dict):
        return "[redacted:by_name]"
    return dict.fromkeys(values, "[redacted:by_name]")
