"""Text as vectors, computed here: no model, no download, the same numbers on every machine."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter

SIZE = 256
"""Dimensions of the dense vector."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORD = re.compile(r"[a-z0-9]+")
_DRAWN = re.compile(r"(?=.*\d)[a-z0-9]{5,}")  # hashes in pod names and the like: they say nothing twice
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be been by for from has have in is it its no not of on or that the this to was "
        "were which with",
    )
)
_SATURATION = 1.2  # further mentions of a term count less and less


def words(text: str) -> list[str]:
    """The telling words: camel case split, lower case, without fillers and drawn names."""
    found = _WORD.findall(_CAMEL.sub(" ", text).lower())
    return [word for word in found if word not in _COMMON and not _DRAWN.fullmatch(word)]


def sparse(text: str) -> dict[int, float]:
    """Hashed term → weight. How rare a term is, the store adds."""
    weights: dict[int, float] = {}
    for word, count in Counter(words(text)).items():
        index = zlib.crc32(word.encode())
        weights[index] = weights.get(index, 0.0) + count * (_SATURATION + 1) / (count + _SATURATION)
    return weights


def dense(text: str) -> list[float]:
    """Length 1 over hashed letter groups (3 to 5) of the words: near for other forms of the same words."""
    vector = [0.0] * SIZE
    for word, count in Counter(words(text)).items():
        weight = 1 + math.log(count)
        framed = f"<{word}>"
        for length in (3, 4, 5):
            for start in range(len(framed) - length + 1):
                value = zlib.crc32(framed[start : start + length].encode())
                vector[value % SIZE] += weight if value & 0x8000_0000 else -weight
    norm = math.sqrt(sum(value * value for value in vector))
    if norm == 0:
        return [1.0] + [0.0] * (SIZE - 1)
    return [value / norm for value in vector]


def similarity(one: list[float], other: list[float]) -> float:
    """The cosine of two dense vectors."""
    return sum(a * b for a, b in zip(one, other, strict=True))
