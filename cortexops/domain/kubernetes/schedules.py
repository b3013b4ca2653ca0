"""How often a CronJob is due at the least, and whether it has not run for longer than that."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.values import dig, moment, objects, text
from cortexops.domain.resource import JSON

_NAMED = {
    "@yearly": timedelta(days=366), "@annually": timedelta(days=366), "@monthly": timedelta(days=31),
    "@weekly": timedelta(days=7), "@daily": timedelta(days=1), "@midnight": timedelta(days=1),
    "@hourly": timedelta(hours=1),
}  # fmt: skip
_ZONE = re.compile(r"^(?:CRON_)?TZ=\S+\s+")
_EVERY = re.compile(r"\*/(\d{1,2})")
_ALL = ("*", "?", "*/1")
_FIELDS = 5
_LATE = timedelta(minutes=10)


def longest_gap(schedule: str) -> timedelta | None:
    """The most that can lie between two times that are due, or more than that; None for what is not understood."""
    whole = _ZONE.sub("", schedule.strip())
    if whole in _NAMED:
        return _NAMED[whole]
    parts = whole.split()
    if len(parts) != _FIELDS:
        return None
    minute, hour, day, month, weekday = parts
    if month not in _ALL:
        return timedelta(days=366)
    if day not in _ALL:
        return timedelta(days=31)
    if weekday not in _ALL:
        return timedelta(days=7)
    each = _EVERY.fullmatch(hour)
    if hour not in _ALL:
        return timedelta(hours=int(each.group(1)) + 1) if each is not None else timedelta(days=1)
    each = _EVERY.fullmatch(minute)
    return timedelta(minutes=int(each.group(1))) if each is not None else timedelta(hours=1)


def overdue(cron_job: JSON, now: datetime) -> timedelta | None:
    """For how long a CronJob that may run has not begun a run, where one has been due since; None where it is not
    late, or runs now, or is suspended."""
    if dig(cron_job, "spec", "suspend") is True or objects(cron_job, "status", "active"):
        return None
    gap = longest_gap(text(cron_job, "spec", "schedule"))
    since = moment(cron_job, "status", "lastScheduleTime") or meta.created(cron_job)
    if gap is None or since is None or now - since <= gap * 1.5 + _LATE:
        return None
    return now - since
