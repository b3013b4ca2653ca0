"""Why the API server refused to create a pod, read from the words that controllers repeat in events."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

_QUOTA = re.compile(r"(?:exceeded|failed) quota: ([^,:\s]+)")
_UNDECLARED = re.compile(r"failed quota: [^,:\s]+: must specify ([^\n\"]{1,300})")
_UNREACHABLE = re.compile(r"failed calling webhook \"([^\"]+)\"")
_DENIED = re.compile(r"admission webhook \"([^\"]+)\" denied the request")
_SERVICE = re.compile(r"https?://([a-z0-9-]+)\.([a-z0-9-]+)\.svc\b")
_ACCOUNT = re.compile(r"serviceaccount \"([^\"]+)\" not found")
_TERMINATING = re.compile(r"namespace (\S+) because it is being terminated")
_BOUNDS = re.compile(r"(?:maximum|minimum) \S+ usage per (?:Container|Pod)|limit to request ratio per")
_SECURITY = re.compile(r"violates PodSecurity \"([^\"]+)\"")


class Refuser(StrEnum):
    """Who refused."""

    QUOTA = "quota"
    LIMIT_RANGE = "limit_range"
    WEBHOOK_UNREACHABLE = "webhook_unreachable"
    WEBHOOK_DENIED = "webhook_denied"
    NAMESPACE = "namespace"
    SERVICE_ACCOUNT = "service_account"
    POD_SECURITY = "pod_security"
    OTHER = "other"


class Refusal(NamedTuple):
    """`name` is the quota, webhook, account, namespace or security level that the message names.

    `service` is (namespace, name) of the Service behind a webhook, when the message tells it.
    """

    by: Refuser
    name: str
    service: tuple[str, str] | None = None


def quota_of(message: str) -> str:
    """The quota that refuses a pod, for want of room or of a declaration; empty when it is none."""
    match = _QUOTA.search(message)
    return match.group(1) if match else ""


def undeclared(message: str) -> str:
    """What a quota demands that pods declare and these do not, in the API server's words."""
    match = _UNDECLARED.search(message)
    return match.group(1).strip() if match else ""


def refusal(message: str) -> Refusal:
    """What the message means."""
    for pattern, by in (
        (_QUOTA, Refuser.QUOTA),
        (_DENIED, Refuser.WEBHOOK_DENIED),
        (_UNREACHABLE, Refuser.WEBHOOK_UNREACHABLE),
        (_ACCOUNT, Refuser.SERVICE_ACCOUNT),
        (_TERMINATING, Refuser.NAMESPACE),
        (_SECURITY, Refuser.POD_SECURITY),
    ):
        match = pattern.search(message)
        if match:
            service = _SERVICE.search(message) if by is Refuser.WEBHOOK_UNREACHABLE else None
            return Refusal(by, match.group(1), (service.group(2), service.group(1)) if service else None)
    return Refusal(Refuser.LIMIT_RANGE if _BOUNDS.search(message) else Refuser.OTHER, "")
