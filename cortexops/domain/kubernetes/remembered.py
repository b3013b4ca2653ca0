"""Patterns that remember what they were asked: every analyzer reads the same few thousand lines again."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

LINES = 20_000
"""How many lines each remembers; an investigation reads fewer. About 100 bytes each, the lines not counted."""


class Remembered:
    """A regular expression, asked only whether it is found in a line."""

    def __init__(self, pattern: str) -> None:
        found = re.compile(pattern).search
        self.search: Callable[[str], bool] = lru_cache(LINES)(lambda line: found(line) is not None)
