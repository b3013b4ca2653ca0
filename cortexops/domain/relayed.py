"""Error texts that a caller hands on: whose they were, by what both say, or by the path that was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from cortexops.domain.kubernetes import complaints
from cortexops.domain.kubernetes.remembered import LINES

_PIECES = re.compile(r"[\"'`\[\]{}()|<>“”]|: |; | - |\\n|\\t")
_SHORTEST, _FEWEST_WORDS = 14, 3
_WORD = re.compile(r"[A-Za-z][A-Za-z']+")
_COMMON = """
    a an and are at be but by can could failed fail failing for from has have in is it its no not of on or the to was
    were while with error errors exception internal server response request requests status code http https get post
    put call calling connect connection connecting refused reset timeout timed out context deadline exceeded
    unavailable service unknown invalid bad gateway upstream unexpected rpc desc cannot handler servlet threw root
    cause caused nested java org com main thread message level warn info debug system app application object null
    undefined retry retrying attempt after before closed eof broken pipe
"""
_GENERIC = frozenset(_COMMON.split())
"""Words that any program has for any failure."""
_PATH = re.compile(r"(?:https?://[^/\s\"'`]+)?(/[A-Za-z0-9_.~-]+(?:/[A-Za-z0-9_.~:{}-]+)*)")
_PLAIN = re.compile(r"[^a-z0-9]")
_SHORTEST_STEM = 5
_SHORTEST_NAME = 4
_SUFFIXES = ("service", "svc", "api", "server", "app")


def echoes(caller: Sequence[str], callee: Sequence[str]) -> list[str]:
    """The caller's complaints that hold a phrase of the callee's own, as one does that hands an error on.

    A phrase is three words at least, not all of them words that any program has for any failure.
    """
    phrases = {phrase for line in complaints.complaining(callee) for phrase in _phrases(line)}
    if not phrases:
        return []
    return [line for line in complaints.complaining(caller) if phrases & _held(line) or _holds(line, phrases)]


def _holds(line: str, phrases: Iterable[str]) -> bool:
    lowered = line.lower()
    return any(phrase in lowered for phrase in phrases)


@lru_cache(LINES)
def _held(line: str) -> frozenset[str]:
    return frozenset(_phrases(line))


@lru_cache(LINES)
def _phrases(line: str) -> tuple[str, ...]:
    found = []
    for piece in _PIECES.split(line):
        words = [word.lower() for word in _WORD.findall(piece)]
        telling = [word for word in words if word not in _GENERIC and len(word) > 2]
        if len(piece.strip()) >= _SHORTEST and len(words) >= _FEWEST_WORDS and len(telling) >= 2:
            found.append(piece.strip(" .,").lower())
    return tuple(found)


def asked_by_path(line: str, services: Iterable[str]) -> str:
    """The one of the named Services whose name stands in a path that the line asks for, as gateways route by it;
    "" when none does, or several."""
    if not complaints.answers_with_errors([line]) and not complaints.answered_badly([line]):
        return ""
    segments = {
        _PLAIN.sub("", segment.lower())
        for path in _PATH.findall(line)
        for segment in path.split("/")
        if segment
    }
    found = {name for name in services if _stems(name) & segments}
    return found.pop() if len(found) == 1 else ""


@lru_cache(LINES)
def _stems(service: str) -> frozenset[str]:
    """How a path may name it: `ts-travel-service` as `travelservice` or `travel`, `cart-api` as `cart`."""
    parts = service.lower().split("-")
    found = set()
    for start in range(len(parts)):
        rest = parts[start:]
        found.add("".join(rest))
        if len(rest) > 1 and rest[-1] in _SUFFIXES:
            found.add("".join(rest[:-1]))
    found = {stem for stem in found if stem not in _SUFFIXES}
    return frozenset(stem for stem in found if len(stem) >= _SHORTEST_STEM) | frozenset(
        f"{stem}s" for stem in found if len(stem) >= _SHORTEST_STEM
    )


@lru_cache(LINES)
def short_name(caller: str, service: str) -> str:
    """What a program may call a Service that has a prefix in common with itself, as releases of one chart have:
    `shop-checkout` says `shipping` of `shop-shipping`. The name itself where they have none, or no more is left."""
    common = 0
    for ours, its in zip(caller.split("-"), service.split("-"), strict=False):
        if ours != its:
            break
        common += len(its) + 1
    rest = service[common:]
    return rest if len(rest) >= _SHORTEST_NAME and rest not in _SUFFIXES else service
