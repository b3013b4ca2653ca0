"""What an Ingress tells its controller to refuse or to cut short, and how controllers tell that they did."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.values import objects, text
from cortexops.domain.resource import JSON

CONTROLLER = {"app.kubernetes.io/name": "ingress-nginx", "app.kubernetes.io/component": "controller"}
"""Labels of the controller's pods, as its manifests and its chart set them."""


class Setting(NamedTuple):
    """An annotation: its key and value, what it does to requests, whether it turns any away by its nature, and the
    words by which controllers tell that it did."""

    key: str
    value: str
    does: str
    refuses: bool
    tells: re.Pattern[str]


_SETTINGS = (
    (
        r"(?:global-rate-)?limit-(?:rps|rpm|rate|requests|connections)|rate-limit-(?:requests|connections)",
        "lets only so many requests through", True, r"limiting (?:requests|connections)[^\n]{0,40}by zone",
    ),
    (
        r"(?:whitelist|allowlist|denylist|blacklist)-source-range|allow-list|deny-list",
        "lets only some addresses in", True, r"access forbidden by rule",
    ),
    (
        r"auth-(?:url|tls-secret|tls-verify-client|secret|type)", "asks callers to sign in", True,
        r"auth request unexpected status|no user/password was provided|client sent no required ssl certificate",
    ),
    (
        r"enable-modsecurity|modsecurity-snippet|enable-owasp-core-rules|waf", "filters requests", True,
        r"modsecurity: access denied",
    ),
    (
        r"proxy-(?:connect|read|send)-timeout|timeout-(?:server|connect|http-request)",
        "gives up after a time", False, r"upstream timed out",
    ),
    (
        r"proxy-body-size|client-max-body-size", "refuses longer requests", False,
        r"client intended to send too large body",
    ),
    (
        r"backend-protocol|secure-backends|server-proto", "speaks this protocol to what is behind it", False,
        r"upstream sent (?:no valid http|invalid header|too large http2)|ssl_do_handshake\(\) failed"
        r"|ssl routines:\S{0,60}wrong version number",
    ),
    (
        r"rewrite-target|app-root|path-rewrite|use-regex", "asks for another path than it was asked for", False,
        r"rewrite or internal redirection cycle",
    ),
    (
        r"upstream-vhost|permanent-redirect|temporal-redirect", "sends requests elsewhere", False,
        r"rewrite or internal redirection cycle",
    ),
)  # fmt: skip
_KNOWN = tuple(
    (re.compile(rf"(?i)^(?:{names})$"), does, refuses, re.compile(rf"(?i)(?:{tells})"))
    for names, does, refuses, tells in _SETTINGS
)
_OF_CONTROLLERS = re.compile(
    r"(?i)^(?:[\w-]+\.)*(?:ingress\.kubernetes\.io|haproxy\.org|nginx\.org|haproxy-ingress\.github\.io)/"
)


def settings(ingress: JSON) -> list[Setting]:
    """Its annotations that may spoil requests, those that turn some away by their nature first."""
    found = []
    for key, value in meta.annotations_of(ingress).items():
        name = key.partition("/")[2] if _OF_CONTROLLERS.match(key) else ""
        found += [
            Setting(key, value, does, refuses, tells)
            for known, does, refuses, tells in _KNOWN
            if name and known.match(name)
        ]
    return sorted(found, key=lambda setting: not setting.refuses)


def hosts_of(ingress: JSON) -> list[str]:
    """The host names that it serves."""
    return [text(rule, "host") for rule in objects(ingress, "spec", "rules") if text(rule, "host")]


def spoiled(setting: Setting, lines: Sequence[str], hosts: Sequence[str]) -> list[str]:
    """Lines of a controller's log by which the setting spoiled requests to one of the hosts."""
    return [
        line
        for line in lines
        if setting.tells.search(line) and any(f" {host}" in line or f'"{host}"' in line for host in hosts)
    ]
