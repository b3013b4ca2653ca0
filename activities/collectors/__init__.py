"""Collectors: one file each, found by discovery. Adding one touches no other file.

A collector reads one sort of thing around the target and adds it to the gathering. It never raises for
what the API server does (the gathering turns that into gaps), and sends a number of requests that does
not grow with the number of objects. `wave` orders what depends on what: collectors of one wave run at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from activities.gathering import Gathering
from cortexops.registry import Registry

Collect = Callable[[Gathering], Awaitable[None]]


class Collector(NamedTuple):
    """Wave 1 needs only the resolved target; wave 2 what wave 1 found, and so on."""

    wave: int
    collect: Collect


COLLECTORS: Registry[Collector] = Registry("collector", "activities.collectors")


def collector(kind: str, *, wave: int = 1) -> Callable[[Collect], Collect]:
    """Register a function as the collector of that kind."""

    def register(collect: Collect) -> Collect:
        COLLECTORS.register(kind, Collector(wave, collect))
        return collect

    return register
