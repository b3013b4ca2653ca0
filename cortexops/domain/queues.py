"""Queues and topics that configurations name, and whether those who write to them mean the same as those who read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from cortexops.domain.databases import settings
from cortexops.domain.resource import JSON

_SETTING = re.compile(r"(?i)(queue|topic|stream|subject|exchange|routing[_.-]?key|binding[_.-]?key)")
_AMOUNT = re.compile(
    r"(?i)(size|len|depth|max|min|count|timeout|url|uri|host|port|prefetch|workers|concurrency|interval|retention"
    r"|partition|durable|enabled|ttl|type|user|pass)"
)
_NAME = re.compile(r"^[A-Za-z][\w.:/-]{2,80}$")
_NOT_NAMES = frozenset({"true", "false", "none", "null", "direct", "fanout", "headers", "default"})
_IDLE = re.compile(
    r"(?i)(\bidle\b(?!\s*(?:timeout|conn))|\b0 (?:ready|messages|tasks|jobs)\b"
    r"|\bno (?:new )?(?:messages|tasks|jobs|work)\b|\bqueue is empty\b|\bnothing to (?:do|process|consume)\b)"
)
_IDLE_NAME = re.compile(
    r"(?i)(idle|starv|no[ _-]?(?:tasks?|messages?|work|jobs?)\b|processed no|consumes? nothing)"
)
_UNROUTABLE = re.compile(
    r"(?i)(\bunroutable\b|\bno_route\b|\bbasic\.return\b|unknown_topic_or_partition|unknown topic"
    r"|no such (?:queue|topic)|no queue (?:bound|is bound)|returned by the broker|no responders|no stream matches)"
)
_ALIKE = 0.75
_LABELS = ("topic", "queue", "stream", "queue_name", "topic_name")
_SENDS = re.compile(
    r"(?i)\b(?:publish(?:ed|es|ing)?|produc(?:ed|es|ing)|sent|sends|sending|enqueue[ds]?|emitted|emits)\b"
)
_READS = re.compile(r"(?i)(group[_.-]?id|consumer|listener|subscri)")


class Named(NamedTuple):
    """A setting that names a queue or a topic."""

    setting: str
    queue: str


def queues_of(template: JSON, configs: dict[str, dict[str, str]]) -> list[Named]:
    """The queues and topics that a pod spec's variables, arguments and ConfigMaps name."""
    found: dict[Named, None] = {}
    for name, value in settings(template, configs):
        if not _SETTING.search(name) or _AMOUNT.search(name):
            continue
        for word in re.split(r"[\s,;]+", value.strip()):
            if _NAME.match(word) and "://" not in word and word.lower() not in _NOT_NAMES:
                found.setdefault(Named(name, word))
    return list(found)


def told_queues(labels: Iterable[Mapping[str, str]]) -> set[str]:
    """The queues and topics that the labels of alerts name."""
    return {each[name] for each in labels for name in _LABELS if each.get(name)}


def sends_to(queue: str, lines: Sequence[str]) -> list[str]:
    """Lines in which a program tells that it sends to the queue."""
    return [line for line in lines if queue in line and _SENDS.search(line)]


def seems_reader(template: JSON, configs: dict[str, dict[str, str]]) -> bool:
    """Whether the configuration has what only those need who read from queues."""
    return any(_READS.search(name) for name, _ in settings(template, configs))


def alike(one: str, other: str) -> bool:
    """Whether two names that differ may have been meant for the same queue (`orders.v1`, `orders.v2`)."""
    return one != other and SequenceMatcher(None, one.lower(), other.lower()).ratio() >= _ALIKE


def idle(lines: Sequence[str]) -> list[str]:
    """Lines in which a consumer tells that it has nothing to do."""
    return [line for line in lines if _IDLE.search(line)]


def alerts_idle(name: str, summary: str) -> bool:
    """Whether an alert says that a consumer does nothing."""
    return _IDLE_NAME.search(f"{name} {summary}") is not None


def unroutable(lines: Sequence[str]) -> list[str]:
    """Complaints that nobody takes what was sent."""
    return [line for line in lines if _UNROUTABLE.search(line)]
