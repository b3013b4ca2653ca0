"""Refusals by RBAC, in the words of the API server as programs log them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from cortexops.domain.kubernetes.values import objects, text, words
from cortexops.domain.resource import JSON

_CANNOT = re.compile(
    r"User \\?\"system:serviceaccount:(?P<space>[a-z0-9-]+):(?P<account>[a-z0-9.-]+)\\?\" cannot"
    r" (?P<verb>[a-z]+) resource \\?\"(?P<resource>[a-z0-9./-]+)\\?\" in API group \\?\"(?P<group>[a-z0-9.-]*)\\?\""
    r"(?: in the namespace \\?\"(?P<where>[a-z0-9-]+)\\?\")?"
)


class Denial(NamedTuple):
    """What a service account may not do; `where` is empty for the whole cluster."""

    account: tuple[str, str]
    verb: str
    resource: str
    group: str
    where: str
    line: str


def denials(lines: Sequence[str]) -> list[Denial]:
    """Those that the lines tell of, each once."""
    found: dict[tuple[str, ...], Denial] = {}
    for line in lines:
        for match in _CANNOT.finditer(line):
            space, account, verb, resource, group, where = match.groups(default="")
            found.setdefault(
                (space, account, verb, resource, group, where),
                Denial((space, account), verb, resource, group, where, line),
            )
    return list(found.values())


def allows(role: JSON, denial: Denial) -> bool:
    """Whether a Role or ClusterRole would permit it."""
    return any(
        {denial.group, "*"} & set(words(rule, "apiGroups"))
        and {denial.resource, "*"} & set(words(rule, "resources"))
        and {denial.verb, "*"} & set(words(rule, "verbs"))
        for rule in objects(role, "rules")
    )


def speaks_of(role: JSON, denial: Denial) -> bool:
    """Whether a Role or ClusterRole permits anything at all on what was refused."""
    return any(
        {denial.group, "*"} & set(words(rule, "apiGroups"))
        and {denial.resource, "*"} & set(words(rule, "resources"))
        for rule in objects(role, "rules")
    )


def binds(binding: JSON, account: tuple[str, str]) -> bool:
    """Whether a RoleBinding or ClusterRoleBinding names the account."""
    return any(
        text(subject, "kind") == "ServiceAccount"
        and text(subject, "name") == account[1]
        and text(subject, "namespace") in (account[0], "")
        for subject in objects(binding, "subjects")
    )
