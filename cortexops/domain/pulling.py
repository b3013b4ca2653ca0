"""What a container runtime's words about a pull that failed mean."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cortexops.domain.diagnosis import Category

_LIMITED = re.compile(r"(?i)(too ?many ?requests|\b429\b|rate ?limit)")
_UNTRUSTED = re.compile(
    r"(?i)(\bx509\b|failed to verify certificate|certificate (?:signed by unknown|has expired))"
)
_UNREACHABLE = re.compile(
    r"(?i)(dial tcp|i/o timeout|no such host|connection refused|tls handshake|deadline exceeded|timeout"
    r"|server misbehaving|network is unreachable|\b50[0234]\b|x509|connection reset|unexpected eof|: eof\b"
    r"|no route to host|server gave http response|short read|broken pipe)"
)
_PLAIN = re.compile(r"(?i)server gave http response to https client")
_NO_ROOM = re.compile(r"(?i)(no space left on device|disk quota exceeded|not enough (?:disk )?space)")
_BROKEN = re.compile(
    r"(?i)(failed to extract layer|failed to register layer|failed size validation|unexpected commit digest"
    r"|failed precondition|invalid tar header|unsupported media ?type)"
)
_TOLD = re.compile(
    r"(?is)(?:failed to pull image \S+: |errimagepull: )(?:rpc error: code = \w+ desc = )?(?:failed to pull and"
    r" unpack image \S+: )?(.+)"
)
_OFTEN_TOLD = ("errimagepull", "imagepullbackoff")
_DENIED = re.compile(
    r"(?i)(unauthorized|\b401\b|\b403\b|forbidden|authorization failed|authentication required|no basic auth"
    r"|access denied|insufficient_scope|denied: requested access|failed to authorize|access to the resource)"
)
_PLATFORM = re.compile(r"(?i)(no match(?:ing manifest)? for (?:platform|\w+/\w+)|no matching manifest)")
_NO_NAME = re.compile(r"(?i)(invalidimagename|couldn't parse image|invalid reference format)")
_MISSING = re.compile(
    r"(?i)(not found|manifest unknown|does not exist|name unknown|no such image|notfound|couldn't parse"
    r"|invalid reference|invalidimagename|errimageneverpull)"
)


def category_of(said: Sequence[str]) -> tuple[Category, float]:
    """What the runtime's words mean, and how directly they say it (0–1)."""
    whole = "\n".join(said)
    if _NO_ROOM.search(whole):
        return Category.NODE_PRESSURE, 1.0
    if _PLATFORM.search(whole):
        return Category.WRONG_ARCHITECTURE, 1.0
    if _LIMITED.search(whole):
        return Category.REGISTRY_RATE_LIMITED, 1.0
    if _DENIED.search(whole):
        return Category.IMAGE_PULL_DENIED, 1.0
    if _MISSING.search(whole):
        return Category.IMAGE_NOT_FOUND, 1.0
    if _UNREACHABLE.search(whole):
        return Category.REGISTRY_UNREACHABLE, 1.0
    # Else nobody knows these words, or only the back-off is left: most often a wrong tag.
    return Category.IMAGE_NOT_FOUND, 0.9 if _BROKEN.search(whole) else 0.75


def _own_words(said: Sequence[str]) -> str:
    """What the runtime told of a pull that failed, without what it repeats; empty where only the back-off is left."""
    for message in said:
        match = _TOLD.search(message)
        if match is not None and match.group(1).strip().lower() not in _OFTEN_TOLD:
            return match.group(1).strip()
    return ""


def worded(category: Category, said: Sequence[str]) -> str:
    """The same as the end of a sentence that begins with the image."""
    whole = "\n".join(said)
    if category is Category.IMAGE_NOT_FOUND and _NO_NAME.search(whole):
        return "has no valid name"
    if category is Category.REGISTRY_UNREACHABLE and _UNTRUSTED.search(whole):
        return "cannot be fetched: the certificate of its registry is not trusted (x509)"
    if category is Category.REGISTRY_UNREACHABLE and _PLAIN.search(whole):
        return "cannot be fetched: its registry answers in plain HTTP where HTTPS is asked for"
    own = _own_words(said)
    if category is Category.IMAGE_NOT_FOUND and own and not _MISSING.search(whole):
        what = "unpacked on its node" if _BROKEN.search(whole) else "pulled"
        return f"cannot be {what}: {own[:160]}"
    return {
        Category.NODE_PRESSURE: "cannot be unpacked, no space is left on the device",
        Category.IMAGE_NOT_FOUND: "does not exist in the registry",
        Category.WRONG_ARCHITECTURE: "is not built for the CPU architecture of its node",
        Category.IMAGE_PULL_DENIED: "may not be pulled with the credentials in use",
        Category.REGISTRY_UNREACHABLE: "cannot be fetched: its registry does not answer",
        Category.REGISTRY_RATE_LIMITED: "cannot be fetched: its registry limits the rate of pulls (429)",
    }[category]
