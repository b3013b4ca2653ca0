"""Text as a reader takes it: letters that only look like others, invisible ones and spacing undone.

Whoever hides words writes them with Cyrillic letters, full-width forms, characters of no width, digits for
letters, or a blank after each letter. What is searched for is then searched in the folded text; each place
in it is led back to the text as it was. Everything takes time linear in the text.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from functools import lru_cache
from typing import NamedTuple

_PLAIN = re.compile(r"[\t\n\x20-\x7e]++")
_LETTERS = re.compile(r"[a-z]++")
_ALIKE = str.maketrans(
    "абвгеёзикмнорстухіјѕԁԛԝһӏпьѵαβγεηικνορτυχωϲǃɑɡɩᴀʙᴄᴅᴇɢʜɪᴊᴋʟᴍɴᴏᴘʀᴛᴜᴠᴡʏᴢøłđæı",
    "abbree3nkmhopctyxijsdqwhlnbvabyenikvoptuxwc!agiabcdeghijklmnoprtuvwyzoldai",
)
_LEET = str.maketrans("013457@$!|", "oieastasil")


def invisible(character: str) -> bool:
    """Whether a reader does not see it: no width, a control, a direction mark, a tag, a variation selector."""
    if character in "\t\n" or character.isprintable():
        return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"
    return not character.isspace()


@lru_cache(maxsize=4096)
def _alike(character: str) -> str:
    """The one ASCII letter that it is read as, itself when there is none, nothing when it is invisible."""
    if invisible(character):
        return ""
    if character.isspace():
        return " "
    plain = unicodedata.normalize("NFKD", character)[:1].lower()[:1].translate(_ALIKE)
    return plain if plain.isascii() and plain else "\ufffd"


class Folded(NamedTuple):
    """Folded text; `runs` are (place here, place there) of the beginnings of stretches of equal length."""

    text: str
    runs: tuple[tuple[int, int], ...]

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The span in the text as it was."""
        return self._place(start), self._place(max(start, end - 1)) + 1

    def _place(self, here: int) -> int:
        begun, there = self.runs[bisect_right(self.runs, (here, 1 << 62)) - 1]
        return there + here - begun


def fold(text: str) -> Folded:
    """Lower case, look-alikes replaced by ASCII, invisible characters gone, blanks as they are."""
    if _PLAIN.fullmatch(text) or not text:
        return Folded(text.lower(), ((0, 0),))
    out: list[str] = []
    runs: list[tuple[int, int]] = [(0, 0)]
    here = there = 0
    while there < len(text):
        plain = _PLAIN.match(text, there)
        if plain is not None:
            piece, length = plain.group(0).lower(), plain.end() - there
        else:
            piece, length = _alike(text[there]), 1
        if here - there != runs[-1][0] - runs[-1][1]:
            runs.append((here, there))
        out.append(piece)
        here += len(piece)
        there += length
    return Folded("".join(out), tuple(runs))


def squeeze(folded: Folded) -> Folded:
    """Only the letters of a folded text, digits read as the letters that they stand for."""
    out: list[str] = []
    runs: list[tuple[int, int]] = [(0, 0)]
    here = 0
    for letters in _LETTERS.finditer(folded.text.translate(_LEET)):
        runs.append((here, letters.start()))
        out.append(letters.group(0))
        here += letters.end() - letters.start()
    return Folded("".join(out), tuple(runs))
