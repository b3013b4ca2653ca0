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
    r"|server misbehaving|network is unreachable|\b50[0234]\b|x509)"
)
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
    return Category.IMAGE_NOT_FOUND, 0.75  # only the back-off is left: most often a wrong tag


def worded(category: Category, said: Sequence[str]) -> str:
    """The same as the end of a sentence that begins with the image."""
    whole = "\n".join(said)
    if category is Category.IMAGE_NOT_FOUND and _NO_NAME.search(whole):
        return "has no valid name"
    if category is Category.REGISTRY_UNREACHABLE and _UNTRUSTED.search(whole):
        return "cannot be fetched: the certificate of its registry is not trusted (x509)"
    return {
        Category.IMAGE_NOT_FOUND: "does not exist in the registry",
        Category.WRONG_ARCHITECTURE: "is not built for the CPU architecture of its node",
        Category.IMAGE_PULL_DENIED: "may not be pulled with the credentials in use",
        Category.REGISTRY_UNREACHABLE: "cannot be fetched: its registry does not answer",
        Category.REGISTRY_RATE_LIMITED: "cannot be fetched: its registry limits the rate of pulls (429)",
    }[category]
