"""What a name tells of its value, and what a value tells of itself.

Three sorts of names: those that mean a secret whatever the value is (`DB_PASSWORD`), those that often do
(`key`, `sig`, `session`), whose value has to look drawn by lot, and all others, whose value has to look so
beyond doubt. Hexadecimal under other names is evidence: digests, commits, uids, trace ids.
"""

from __future__ import annotations

import math
import re
from collections import Counter

_STRONG = re.compile(
    r"(?i)passw|pwd|passphrase|secret|token|api[_.-]?key|access[_.-]?key|credential|private[_.-]?key"
    r"|client[_.-]?key|(?:encryption|signing|account|shared|master|storage|auth|ssh|license|ssl|tls|hmac|session"
    r"|webhook|deploy|service|subscription|ingest|admin|root|cipher|aes|rsa|jwt|cookie)[_.-]?key"
    r"|(?:cloudant|clou|softlayer|ibm)[_.-]?(?:api)?[_.-]?(?:key|pass|pw)|connection[_.-]?string|conn[_.-]?str"
    r"|(?:^|[_.-])(?:pass|pw|pin|otp|mfa|dsn|passcode)$|(?<=[a-z])Pass$|_pass(?=_)|_authtoken|session[_.-]?id"
    r"|\bphpsessid|\bjsessionid|connect\.sid|csrf|xsrf|x-amz-(?:signature|credential|security-token)|salt$"
)
_SAFE = re.compile(
    r"(?i)(?:^|[_.-])(?:max|min|num|total|prompt|completion|input|output|used|cached|avg|mean|stop|pad|eos|bos|vocab)"
    r"[_.-]?(?:\w{0,20}[_.-])?(?:new[_.-]?)?tokens?$"
    r"|tokens?[_.-]?(?:per|count|usage|limit|used|total|budget|bucket)|tokeniz|token[_.-]?(?:type|review)"
    r"|(?:secret|token|credential|passw(?:or)?d|key|pwd)s?[_.-]?(?:file|path|dir|directory|name|ref|refs|type|class|provider|policy|store|keyref"
    r"|namespace|length|len|ttl|expiry|expires|expires_?in|expiration|timeout|lifetime|age|size|enabled|required|interval|issuer|audience|algorithm|version"
    r"|rotation|url|uri|endpoint|mount|volume|count|generation|hash_?algo|field|header|param|prefix|format|encoding|encryption|backend|manager|cache"
    r"|provider_?class|available|valid|present|missing|exists|set|changed)$|(?-i:[a-z](?:Exception|Error|Failure)$)"
    r"|^(?:automount\w*token|imagepullsecrets?|pull[_-]?secrets?|secretkeyref|secretref|serviceaccounttoken|sessionaffinity)$"
)
_WEAK = re.compile(
    r"(?i)(?:^|[_.-])(?:key|keys|sig|signature|auth|authorization|session|sid|sess|code|cookie|nonce|cert|license|webhook|hook|seed|iv"
    r"|bearer|hmac|otp|magic|invite|ticket|assertion|grant|sas|sl[_-]?key|cl[_-]?key)$|(?:key|auth)[_.-]?(?:value|data)?$|signature$"
)
_EVIDENCE = re.compile(
    r"(?i)sha\d*|digest|hash|etag|checksum|fingerprint|thumbprint|uid|uuid|guid|(?:^|[_.-])id$|[a-z]Id$|_ids?(?:$|[_.-])|(?:^|[_.-])id[_.-]|commit|revision|version|image|trace|span|request|correlation"
    r"|pod|container|node|host|path|file|dir|class|method|url|uri|address|(?:^|[_.-])ref|branch|tag|build|resource|selfLink|serial|subject|issuer|cursor|offset"
    r"|continue|cluster|name|caller|source|module|package|function|query|plan|index|topic|queue|object|schema|public"
)
_NO_SECRETS = frozenset({"secretName"})
"""Names that speak of a secret and hold only where it is."""
_MASK_NAME = re.compile(r"(?i)private")
_SHORT_NUMBER = re.compile(r"-?[0-9]{1,7}(?:\.[0-9]+)?(?:ms|s|m|h|d|k|mb|mi|%)?")
_NOTHING = frozenset(
    {
        "true",
        "false",
        "null",
        "none",
        "nil",
        "yes",
        "no",
        "on",
        "off",
        "undefined",
        "<nil>",
        "<none>",
        "<set>",
        "<unset>",
    }
)
_PROSE = frozenset(
    [
        "not",
        "no",
        "the",
        "a",
        "an",
        "is",
        "was",
        "are",
        "were",
        "has",
        "have",
        "had",
        "been",
        "be",
        "to",
        "of",
        "in",
        "for",
        "from",
        "with",
        "and",
        "or",
        "but",
        "if",
        "by",
        "as",
        "at",
        "on",
        "it",
        "its",
        "this",
        "that",
        "these",
        "expired",
        "invalid",
        "missing",
        "required",
        "unauthorized",
        "unauthenticated",
        "failed",
        "failure",
        "failing",
        "cannot",
        "could",
        "can",
        "must",
        "should",
        "forbidden",
        "denied",
        "incorrect",
        "wrong",
        "empty",
        "unset",
        "unknown",
        "rejected",
        "revoked",
        "refused",
        "malformed",
        "error",
        "errors",
        "access",
        "permission",
        "operation",
        "authentication",
        "authorization",
        "mismatch",
        "changed",
        "updated",
        "created",
        "deleted",
        "rotated",
        "refreshed",
        "loaded",
        "mounted",
        "found",
        "unable",
        "server",
        "connection",
        "context",
        "request",
        "timeout",
        "timed",
        "too",
        "does",
        "did",
        "already",
        "getting",
        "reading",
        "retrieving",
        "starting",
        "syncing",
        "waiting",
        "retrying",
        "fetching",
        "creating",
        "updating",
        "deleting",
        "using",
        "received",
    ]
)
_WORDLIKE = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}(?![a-z])")


def secret_name(name: str) -> bool:
    """Whether a value under this name (environment variable, key) is to be treated as secret."""
    return (
        name not in _NO_SECRETS
        and bool(_STRONG.search(name) or _MASK_NAME.search(name))
        and not safe_name(name)
    )


def strong_name(name: str) -> bool:
    """Whether `name=value` in running text is a secret whatever the value looks like."""
    return bool(_STRONG.search(name)) and not safe_name(name)


def safe_name(name: str) -> bool:
    """Names that speak of a secret's place, kind, size or age, or that count a model's tokens."""
    return bool(_SAFE.search(name))


def weak_name(name: str) -> bool:
    """Names that hold secrets as often as other things."""
    return bool(_WEAK.search(name)) and not safe_name(name)


def evidence_name(name: str) -> bool:
    """Names of identifiers that an investigation needs to read."""
    return bool(_EVIDENCE.search(name))


def says_nothing(value: str) -> bool:
    """A switch or an absence is no secret whatever it is called."""
    return value.strip("\"'").lower().rstrip(".,;)]}") in _NOTHING


def short_number(value: str) -> bool:
    """A count or a duration, which no token is."""
    return _SHORT_NUMBER.fullmatch(value.strip("\"'").rstrip(".,;)]}")) is not None


def prose(value: str) -> bool:
    """A word with which a sentence about a secret goes on (`token: expired`)."""
    return value.rstrip(".,:;!)").lower() in _PROSE


def entropy(text: str) -> float:
    """Bits per character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values()) if text else 0.0


_LONGEST_JUDGED = 512  # characters of a value by which it is judged
_HEX = re.compile(r"[0-9a-fA-F]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_B64ISH = re.compile(r"[A-Za-z0-9+/_.~%=:-]+")


def drawn_by_lot(value: str) -> bool:
    """Whether a value under a weak name looks random: letters and digits mixed, 16 characters or more."""
    value = value.strip("\"'")[:_LONGEST_JUDGED]
    if len(value) < 16 or not _B64ISH.fullmatch(value) or value.startswith(("/", "./", "http")):
        return False
    if _UUID.fullmatch(value):
        return False
    if _HEX.fullmatch(value):
        return len(value) >= 32 and entropy(value) > 3.0 and not value.isdigit()
    digits = sum(c.isdigit() for c in value)
    letters = sum(c.isalpha() for c in value)
    joints = sum(c in "/-_.:" for c in value)
    if joints > len(value) // 8 + 1:
        return False
    return digits >= 2 and letters >= 4 and entropy(value) > 3.5 and not _made_of_words(value)


def surely_drawn_by_lot(value: str) -> bool:
    """Whether a value under any name is random beyond doubt: base64 with all sorts of characters, 28 or more."""
    value = value.strip("\"'")[:_LONGEST_JUDGED]
    body = value.rstrip("=")
    if len(value) < 28 or not re.fullmatch(r"[A-Za-z0-9+/_-]+", body) or _HEX.fullmatch(body):
        return False
    sorts = (sum(c.isdigit() for c in body), sum(c.isupper() for c in body), sum(c.islower() for c in body))
    slashes = body.count("/") + body.count("-") + body.count("_")
    return (
        min(sorts) >= 3
        and slashes <= len(body) // 14 + 1
        and entropy(body) >= 4.3
        and not _UUID.search(body)
        and not _made_of_words(body)
    )


def _made_of_words(value: str) -> bool:
    """Identifiers such as `AbstractProxyFactory2Bean` or `api-7c9d4b5f6-x7k2p` are mostly words of letters."""
    words = [w for w in _WORDLIKE.findall(value) if len(w) >= 4]
    return sum(map(len, words)) >= 0.5 * len(value)
