"""Schemas of databases: what changes them, and complaints that one is not as a program expects it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from cortexops.domain.kubernetes import complaints
from cortexops.domain.kubernetes.remembered import Remembered
from cortexops.domain.kubernetes.values import text, words
from cortexops.domain.resource import JSON

_MIGRATION = re.compile(
    r"(?i)migrat|flyway|liquibase|alembic|sqitch|schema-?(update|init|change)|db:(schema|prepare)|atlas schema"
)
_LACKS = Remembered(
    r"(?i)(\bundefined(?:column|table)\b"
    r"|\b(?:column|relation|table) [\"'`]?[\w.]{1,80}[\"'`]?(?: of relation \S{1,80})?"
    r" do(?:es not|esn't) exist|\bno such (?:column|table)\b|\bunknown column\b|\btable '[^'\n]{1,80}' doesn't exist"
    r"|\binvalid (?:column|object) name\b|\bora-00(?:904|942)\b|pendingmigration|\bmigrations are pending\b"
    r"|\bunapplied migrations?\b|\bschema-validation: missing (?:column|table)\b)"
)
_THING = re.compile(
    r"(?i)\b(?:column|relation|table|object name)s?:? [\[\"'`]*(?:[\w]+\.)*(\w{2,63})[\]\"'`]*"
)
_TAKES = re.compile(
    r"(?i)(?<![a-z])(?:drop(?:s|ped|ping)?|remov(?:e|es|ed|ing)|renam(?:e|es|ed|ing)|delet(?:e|es|ed|ing))(?![a-z])"
)
_FILLERS = frozenset({"of", "does", "in", "is", "not", "was", "with", "name", "the"})


def migrates(container: JSON) -> bool:
    """Whether a container seems to change a database's schema, as its name, image and arguments tell."""
    told = [text(container, "name"), text(container, "image")]
    return any(
        _MIGRATION.search(one) for one in (*told, *words(container, "command"), *words(container, "args"))
    )


def called_migration(name: str) -> bool:
    """Whether a name is such as people give to what changes a schema."""
    return _MIGRATION.search(name) is not None


def lacks(lines: Sequence[str]) -> list[str]:
    """Complaints that a table or a column which a program asks for is not there."""
    return [line for line in complaints.complaining(lines) if _LACKS.search(line)]


def takes_away(lines: Sequence[str]) -> list[str]:
    """Lines, of whatever level, that tell of something which was removed from a schema or got another name."""
    return [line for line in lines if _TAKES.search(line)]


def things(lines: Sequence[str]) -> set[str]:
    """Names of tables and columns in them, in small letters."""
    found = {match.group(1).lower() for line in lines for match in _THING.finditer(line)}
    return found - _FILLERS


def speaks_of(lines: Sequence[str], names: set[str]) -> bool:
    """Whether the lines name one of them, written whichever way (`discount_cents`, `AddDiscountCents`)."""
    plain = " ".join(lines).lower().replace("_", "")
    return any(name.replace("_", "") in plain for name in names)
