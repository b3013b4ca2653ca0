"""Text that anybody may have written: how it is put before a model, and how attempts at steering are seen.

A fence makes data recognisable as data: between two lines that carry a nonce that the writer of the data
could not know, each line begins with a mark, and nothing in it looks like a delimiter or a change of roles.
Finding an attempt changes nothing but what people are told: detection is a courtesy, the fence, the typed
actions and the computed causes are the protection.
"""

from __future__ import annotations

import re

from cortexops.domain.injection_signs import InjectionKind, InjectionMark, injections
from cortexops.domain.lookalikes import invisible

__all__ = ["InjectionKind", "InjectionMark", "fence", "injections", "seen"]

_NONCE = re.compile(r"[A-Za-z0-9_-]{8,64}")
_LONGEST_LABEL = 80  # characters
_LINE_ENDS = re.compile(r"\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_UNSEEN = re.compile(r"[^\x20-\x7e\n\t]++")
_ROLES = r"system|assistant|user|human|developer|tool|function|instructions?|inst|data|prompt|im_start|im_end"
_TAG = re.compile(rf"<(?=\s{{0,3}}[/|!]?\s{{0,3}}(?:{_ROLES}|s>))", re.IGNORECASE)
_SQUARE = re.compile(rf"\[(?=\s{{0,3}}/?\s{{0,3}}(?:{_ROLES}|redirected)\s{{0,3}}\])", re.IGNORECASE)
_FENCES = (("<<", "‹‹"), (">>", "››"), ("<|", "‹|"), ("|>", "|›"), ("```", "'''"), ("~~~", "---"))


def seen(text: str) -> str:
    """The text with everything that a reader would not see written out: `⟨U+202E⟩`, `⟨U+200B×3⟩`.

    Line ends of all kinds become line feeds; tabs stay.
    """
    text = _LINE_ENDS.sub("\n", text)
    return text if text.isascii() and text.isprintable() else _UNSEEN.sub(_written_out, text)


def _written_out(stretch: re.Match[str]) -> str:
    out: list[str] = []
    hidden: str = ""
    number = 0
    for character in [*stretch.group(0), ""]:
        if number and character != hidden:
            out.append(f"⟨U+{ord(hidden):04X}{f'×{number}' if number > 1 else ''}⟩")
            number = 0
        if character and (invisible(character) or not (character.isprintable() or character.isspace())):
            hidden = character
            number += 1
        elif character:
            out.append(" " if character.isspace() else character)
    return "".join(out)


def fence(text: str, *, label: str, nonce: str) -> str:
    """The text as labelled data for a prompt. Raises `ValueError` for a nonce that is not 8 to 64 word characters.

    The nonce must be fresh and unguessable; it belongs to one prompt and is named in its instructions.
    """
    if not _NONCE.fullmatch(nonce):
        raise ValueError("a fence's nonce has 8 to 64 letters, digits, _ or -")
    name = re.sub(r"[^A-Za-z0-9 ./:_-]+", " ", label.replace(nonce, " "))[:_LONGEST_LABEL].strip() or "data"
    text = seen(text)
    text = text.replace(nonce, "[nonce]")
    for mark, harmless in _FENCES:
        text = text.replace(mark, harmless)
    text = _SQUARE.sub("(", _TAG.sub("‹", text))
    body = "\n".join(f"| {line}" for line in text.split("\n"))
    return f"<<<DATA {nonce} {name}>>>\n{body}\n<<<END {nonce}>>>"
