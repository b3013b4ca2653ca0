"""Anchors: once a UTC day, one hash over the heads of all chains that grew, and over the anchor before.

Whoever keeps a single anchor's hash outside of the database can tell later whether any row that was recorded
before it, or a whole chain, has been changed or taken away since.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from pydantic import ValidationError

from cortexops.domain.audit import GENESIS, ChainFault
from cortexops.domain.errors import InvalidInput
from cortexops.domain.ids import canonical_json
from cortexops.domain.resource import Frozen

ANCHORS = "anchors"
"""How faults name the chain of anchors."""


class Head(NamedTuple):
    """The last row of a chain within what an anchor covers."""

    chain: str
    number: int
    hash: str
    cursor: int


class AnchorBody(Frozen):
    """What is hashed. It covers the rows after the cursor `after`, up to and with `cursor`."""

    format: str = "1"
    day: date
    number: int
    after: int
    cursor: int
    rows: int
    heads: tuple[Head, ...]
    root: str
    previous_hash: str


class Anchor(NamedTuple):
    """A stored anchor: the columns, and the text that the hash is taken over."""

    day: date
    number: int
    cursor: int
    body: str
    previous_hash: str
    hash: str


def _hash(kind: bytes, *parts: bytes) -> bytes:
    return hashlib.sha256(kind + b"".join(parts)).digest()


def root_of(heads: Iterable[Head]) -> str:
    """Root of the hash tree over the heads, ordered by chain; sixty-four zeros when nothing grew.

    Leaves and inner nodes are hashed differently, so that neither can pass for the other. A node without
    a neighbour goes up as it is.
    """
    level = [_hash(b"\x00", canonical_json(list(head)).encode()) for head in sorted(heads)]
    if not level:
        return GENESIS
    while len(level) > 1:
        pairs = [level[n : n + 2] for n in range(0, len(level), 2)]
        level = [_hash(b"\x01", *pair) if len(pair) > 1 else pair[0] for pair in pairs]
    return level[0].hex()


def anchor_of(
    day: date, heads: Sequence[Head], *, rows: int, after: int, cursor: int, previous: Anchor | None
) -> Anchor:
    """The anchor that follows `previous`."""
    ordered = tuple(sorted(heads))
    body = AnchorBody(
        day=day,
        number=previous.number + 1 if previous else 1,
        after=after,
        cursor=cursor,
        rows=rows,
        heads=ordered,
        root=root_of(ordered),
        previous_hash=previous.hash if previous else GENESIS,
    )
    text = canonical_json(body.model_dump(mode="json"))
    return Anchor(
        day, body.number, cursor, text, body.previous_hash, hashlib.sha256(text.encode()).hexdigest()
    )


def days_due(newest: date | None, now: datetime) -> list[date]:
    """Days that have ended without an anchor, oldest first. The first anchor covers all the past."""
    yesterday = now.date() - timedelta(days=1)
    if newest is None:
        return [yesterday]
    return [newest + timedelta(days=n) for n in range(1, (yesterday - newest).days + 1)]


def read_body(anchor: Anchor) -> AnchorBody | None:
    """What the anchor says, or None when nobody can read it."""
    try:
        return AnchorBody.model_validate(json.loads(anchor.body))
    except (ValueError, TypeError, ValidationError):
        return None


def check_anchor(anchor: Anchor, previous: Anchor | None) -> tuple[AnchorBody | None, list[ChainFault]]:
    """What the anchor says, and every fault of it by itself and after the one before it."""
    faults: list[ChainFault] = []

    def fault(text: str, column: str = "") -> None:
        told = f"anchor of {anchor.day}: {text}"
        faults.append(ChainFault(chain=ANCHORS, number=anchor.number, fault=told, column=column))

    number, hash_, cursor = (previous.number, previous.hash, previous.cursor) if previous else (0, GENESIS, 0)
    if anchor.number > number + 1:
        fault("the anchor before it is missing")
    if anchor.previous_hash != hash_:
        fault("does not follow the anchor before it", "previous_hash")
    if hashlib.sha256(anchor.body.encode()).hexdigest() != anchor.hash:
        fault("content was changed", "body")
    body = read_body(anchor)
    if body is None:
        fault("content cannot be read", "body")
        return None, faults
    for column in ("day", "number", "cursor", "previous_hash"):
        if getattr(body, column) != getattr(anchor, column):
            fault(f"column {column} differs from the sealed content", column)
    if body.root != root_of(body.heads):
        fault("its root is not that of its heads", "body")
    if body.after != cursor and anchor.number == number + 1:
        fault("does not begin where the anchor before it ends", "body")
    return body, faults


def check_heads(
    body: AnchorBody, present: Mapping[str, Head], archived: Mapping[str, int]
) -> list[ChainFault]:
    """What the rows say against the anchor: `present` are the heads as they are now in what it covers.

    `archived`: number of the last archived row of a chain; heads up to there cannot be compared here.
    """
    faults: list[ChainFault] = []
    anchored = {head.chain: head for head in body.heads}
    for chain, head in anchored.items():
        now = present.get(chain)
        if now is None and head.number <= archived.get(chain, 0):
            continue
        if now is None:
            text = f"all rows that the anchor of {body.day} covers are missing"
        elif now.number != head.number:
            text = f"the anchor of {body.day} ends at row {head.number}, not at row {now.number}"
        elif now.hash != head.hash:
            text = f"was changed since the anchor of {body.day}"
        elif now.cursor != head.cursor:
            text = f"was recorded in another place since the anchor of {body.day}"
        else:
            continue
        column = "cursor" if now is not None and now.hash == head.hash else ""
        faults.append(ChainFault(chain=chain, number=head.number, fault=text, column=column))
    for chain in present.keys() - anchored.keys():
        text = f"was put among what the anchor of {body.day} covers"
        faults.append(ChainFault(chain=chain, number=present[chain].number, fault=text))
    return faults


def kept_outside(text: str) -> tuple[date | None, str]:
    """`HASH` or `DAY:HASH` as somebody kept it. Raises `InvalidInput` when it is neither."""
    day, _, hash_ = text.strip().rpartition(":")
    try:
        told = date.fromisoformat(day) if day else None
    except ValueError:
        raise InvalidInput("anchor", f"{day!r} is no day; give HASH or YYYY-MM-DD:HASH") from None
    if len(hash_) != 64 or set(hash_) - set("0123456789abcdef"):
        raise InvalidInput("anchor", "is no SHA-256 in hex; give HASH or YYYY-MM-DD:HASH")
    return told, hash_


def check_kept(known: Sequence[tuple[date, str]], text: str) -> list[ChainFault]:
    """Whether the anchor that was kept outside is still among the (day, hash) in the database."""
    day, hash_ = kept_outside(text)
    for number, (at, value) in enumerate(known, start=1):
        if value == hash_ and (day is None or at == day):
            return []
        if day is not None and at == day:
            return [
                ChainFault(
                    chain=ANCHORS, number=number, fault=f"anchor of {day}: is not the one kept outside"
                )
            ]
    what = f"the anchor of {day}" if day else f"the anchor {hash_[:12]}…"
    return [ChainFault(chain=ANCHORS, number=len(known), fault=f"{what} that was kept outside is missing")]
