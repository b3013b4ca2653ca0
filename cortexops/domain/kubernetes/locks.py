"""Who holds a lock that others wait for, as a database's log tells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_WAITS = re.compile(
    r"(?i)(lock timeout|lock wait timeout exceeded|still waiting for \w*lock\b|could not obtain lock"
    r"|waiting for (?:table )?metadata lock|lock request time ?out|\block_not_available\b)"
)
_DEADLOCK = re.compile(
    r"(?i)(deadlock found when trying|deadlock detected|\bdeadlock victim\b|\bora-00060\b|\b40p01\b)"
)
_GAVE_UP = re.compile(
    r"(?i)(statement timeout|\bquerytimeoutexception\b|query (?:execution was interrupted, )?(?:timed? ?out\b|maximum"
    r" statement execution time exceeded)|max_statement_time exceeded|\bmysqltimeoutexception\b"
    r"|statement cancell?ed due to (?:query )?timeout)"
)
_SLOW = re.compile(
    r"(?i)(\bslow (?:query|statement|sql)\b|\blong[- ]running (?:query|statement)|\bquery (?:took|ran for) \d{4,} ?ms"
    r"|\bduration: \d{4,}(?:\.\d+)? ms\b)"
)
_OWN_PID = r"(?i)\bpid[\"']?\s*[:=]?\s*{pid}\b"
_HOLDING = re.compile(
    r"(?i)process(?:es)? holding the lock: (?P<pids>\d+(?:, \d+)*)(?: \((?P<more>[^)]{1,200})\))?"
)
_PID = r"(?:\[{pid}\]|\b(?:pid|process)[= ]{pid}\b|\({pid}\))"
_PROGRAM = re.compile(
    r"(?i)\b(?:app(?:lication)?(?:[_ ]?name)?|client|host)[= ]\s*[\"'\[]?([A-Za-z0-9][\w.:-]{1,62})"
)
_USER = re.compile(r"(?i)\b(?:user|usename)[= ]\s*[\"'\[]?([A-Za-z][\w.-]{1,62})")
_AT = re.compile(r"(?<![\w@.])([A-Za-z][\w.-]{1,62})@[\w-]+(?![\w@])")
"""`user@database`, as many have it in the prefix of a line."""
_TAKES = re.compile(
    r"(?i)(\block tables?\b|access exclusive|\bselect\b.{1,300}\bfor update\b|\balter table\b|\bvacuum full\b"
    r"|\breindex\b|\bbegin\b|\bidle in transaction\b|\brefresh materialized view\b|\btruncate\b)"
)

_LOCKS_TABLES = re.compile(
    r"(?i)(\block tables?\b|\baccess exclusive\b|\balter table\b|\bvacuum full\b|\breindex (?:table|index|database)\b"
    r"|\btruncate (?:table )?\w|\brefresh materialized view (?!concurrently)|\bfor update\b)"
)


_SHOWN = 2  # lines


class Holder(NamedTuple):
    """A process of the database that holds a lock: what it is called, and the lines that say so. A user's name is
    given only where the program has none, as several programs may sign in as one user."""

    pids: tuple[str, ...]
    names: frozenset[str]
    lines: tuple[str, ...]


def waits_for_lock(lines: Sequence[str]) -> list[str]:
    """Complaints, the database's or its clients', that a lock was waited for."""
    return [line for line in lines if _WAITS.search(line)]


def contended(lines: Sequence[str]) -> list[str]:
    """Those, and complaints of a transaction that was sacrificed as two waited for each other."""
    return [line for line in lines if _WAITS.search(line) or _DEADLOCK.search(line)]


def gave_up(lines: Sequence[str]) -> list[str]:
    """Complaints that a statement took too long. It may have waited for a lock, where the database tells of one."""
    return [line for line in lines if _GAVE_UP.search(line)]


def slow_statements(lines: Sequence[str]) -> list[str]:
    """Lines, the database's or its clients', that a statement took seconds."""
    return [line for line in lines if _SLOW.search(line)]


def goes_by(pids: Sequence[str], lines: Sequence[str]) -> bool:
    """Whether a program tells that the database serves it in one of the processes, and that it takes locks."""
    told = any(re.search(_OWN_PID.format(pid=re.escape(pid)), line) for pid in pids for line in lines)
    return told and bool(takes_locks(lines))


def takes_locks(lines: Sequence[str]) -> list[str]:
    """Lines in which a program tells that it begins what locks a table."""
    return [line for line in lines if _TAKES.search(line)]


def locks_tables(lines: Sequence[str]) -> list[str]:
    """Those of them that name a statement which others have to wait for; to begin a transaction is none."""
    return [line for line in lines if _LOCKS_TABLES.search(line)]


def holders(lines: Sequence[str]) -> list[Holder]:
    """Whom the log of a database names as holding a lock; each set of processes once, the latest first. One without
    names is known by its processes alone."""
    found: dict[tuple[str, ...], Holder] = {}
    for line in reversed(lines):
        match = _HOLDING.search(line)
        if match is None:
            continue
        pids = tuple(match.group("pids").split(", "))
        if pids in found:
            continue
        shown, told = [line], [match.group("more") or ""]
        for pid in pids:
            own = re.compile(_PID.format(pid=pid))
            told += [each for each in lines if not _HOLDING.search(each) and own.search(each)]
        shown += [each for each in told[1:] if _PROGRAM.search(each) or _USER.search(each)][-_SHOWN:]
        programs = {name for each in told for name in _PROGRAM.findall(each)}
        users = {name for each in told for name in [*_USER.findall(each), *_AT.findall(each)]}
        names = programs or users
        found[pids] = Holder(pids, frozenset(names), tuple(shown))
    return list(found.values())
