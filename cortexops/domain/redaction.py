"""What must never leave: secrets and personal data are masked before chat, audit, memory, prompt or log.

Masks name the kind (`[redacted:aws_key]`), so a reader knows that something was there. Any failure in here
raises: callers then send nothing (fail closed; `cortexops.domain.outgoing` is the gate that does so). The
text is hostile (a pod writes its own logs), so every pattern takes time linear in it: runs are matched
possessively, from their beginning only, or are bounded.

Identifiers are evidence and stay: digests, commits, uids, names of pods, trace ids.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from cortexops.domain.redaction_formats import AFTER, BEFORE, PERSONAL, Format, detectors
from cortexops.domain.redaction_names import (
    drawn_by_lot,
    evidence_name,
    prose,
    says_nothing,
    secret_name,
    short_number,
    strong_name,
    surely_drawn_by_lot,
    weak_name,
)

__all__ = ["BY_NAME", "Redacted", "masked_structure", "redact", "redact_value", "secret_name"]

BY_NAME = "[redacted:by_name]"
_JWT_START = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{11,}+(?=\.[A-Za-z0-9_-]{8,}+\.)")
_JWT_REST = re.compile(r"\.[A-Za-z0-9_-]++\.[A-Za-z0-9_-]*+")
_JWT_HEADER = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_LINE = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/=]{24,}+(?:\\n|\s)*+\Z")
_LAST_KEY_LINE = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/=]{2,}+(?:\\n|\s)*+\Z")
_LONGEST_KEY_LINE = 400  # characters
_KEY = re.compile(r"(?<![\w.-])[\w.-]++(?=\\{0,4}[\"']?\]?\s*+[:=])")
_SEPARATOR = re.compile(r"\\{0,4}[\"']?\]?\s*+(?::=|=>|==|::|[:=])[ \t]*+(?:[|>]-?[ \t]*+\n\s*+)?")
_VALUE = re.compile(
    r"\\{1,4}\"(?:[^\"\\\n]){3,}+|\"(?:[^\"\\\n]|\\.){3,}+\"?|'(?:[^'\\\n]|\\.){3,}+'?|[^\s,;&\"']{3,}+"
)
_LONG_VALUE = re.compile(r"\\{0,4}[\"']?[A-Za-z0-9+/_-]{28,512}+={0,2}(?![\w.:/@-])")
_FLAG = re.compile(r"(?<![\w-])--?([A-Za-z][\w.-]*+)(?:[ \t]++|\\{0,4}[\"'][ \t]*+,\s*+)(?!-)(?=[^\s])")
_VARIABLE = re.compile(
    r"\bname\\{0,4}[\"']?[ \t]*+:[ \t]*+\\{0,4}[\"']?"
    r"([\w.-]{1,200}+)\\{0,4}[\"']?,?\s*+\\{0,4}[\"']?value\\{0,4}[\"']?[ \t]*+:[ \t]*+"
)
_SENTENCE = re.compile(r"[A-Za-z]{2,20}+[ \t]++[a-z(\"']")
_BEFORE_KEY = re.compile(
    r"(?i)(?:api|access|secret|private|encryption|signing|auth|client|master|license|connection|pass)[ ]$"
)
_WORDS = re.compile(r"[A-Za-z]?[a-z]{0,23}+(?: [a-z]{1,23}+){0,8}+")
"""Plain words: no secret has this form, and most fields of a report do."""
_PASSES = 5
_MASK = re.compile(r"[\"'\\]{0,5}\[redacted:[a-z_0-9]+\][\"'\\]{0,5}")


class Redacted(NamedTuple):
    """The masked text and how many values of each kind were masked."""

    text: str
    counts: dict[str, int]


def redact(text: str) -> Redacted:
    """Mask every secret and personal datum that is recognised. Masking twice changes nothing.

    Takes time linear in the text, whatever is in it.
    """
    if _WORDS.fullmatch(text):
        return Redacted(text, {})
    counts: Counter[str] = Counter()
    for _ in range(_PASSES):  # a mask ends the word before it, which may show one more
        before = text
        text = _masked_once(text, counts)
        if text == before:
            break
    return Redacted(text, dict(counts))


def _masked_once(text: str, counts: Counter[str]) -> str:
    text = _formats(BEFORE, text, counts)
    text = _without_key_tails(text, counts)
    text = _without_jwts(text, counts)
    text = _formats(AFTER, text, counts)
    text = _formats(detectors(), text, counts)
    text = _without_assigned(text, counts)
    return _formats(PERSONAL, text, counts)


def _formats(formats: Sequence[Format], text: str, counts: Counter[str]) -> str:
    for each in formats:
        for part in each.parts or ("",):
            if part in text:
                text = _substituted(each, text, counts)
                break
    return text


def _substituted(form: Format, text: str, counts: Counter[str]) -> str:
    def mask(match: re.Match[str]) -> str:
        masked = form.replace(match, f"[redacted:{form.kind}]")
        if masked is None:
            return match.group(0)
        counts[form.kind] += 1
        return masked

    return form.pattern.sub(mask, text)


def _without_key_tails(text: str, counts: Counter[str]) -> str:
    """A private key whose beginning was cut off: the lines above its end, as long as they end in base64."""
    out: list[str] = []
    here = 0
    for end in _KEY_END.finditer(text):
        start, pattern = end.start(), _LAST_KEY_LINE
        line = _line_before(text, here, start + 1)  # what a log puts before each line is before the end, too
        while (above := _line_before(text, here, line)) < line and pattern.search(text, above, line):
            start, line, pattern = above, above, _KEY_LINE
        out += [text[here:start], "[redacted:private_key]"]
        here = end.end()
        counts["private_key"] += 1
    return "".join([*out, text[here:]]) if out else text


def _line_before(text: str, least: int, place: int) -> int:
    """Where the line begins that ends right before the place; a line that is too long for a key ends nowhere."""
    least = max(least, place - _LONGEST_KEY_LINE)
    return text.rfind("\n", least, max(least, place - 1)) + 1 or least


def _without_jwts(text: str, counts: Counter[str]) -> str:
    """A JWT is looked for once in each run of its characters, however often `eyJ` stands in the run."""
    if "eyJ" not in text:
        return text
    out: list[str] = []
    here = 0
    for match in _JWT_START.finditer(text):
        if match.start() < here:
            continue
        header = _JWT_HEADER.search(match.group(0))
        rest = _JWT_REST.match(text, match.end())
        if header is None or rest is None:
            continue
        out += [text[here : match.start() + header.start()], "[redacted:jwt]"]
        here = rest.end()
        counts["jwt"] += 1
    return "".join([*out, text[here:]])


def _without_assigned(text: str, counts: Counter[str]) -> str:
    """`PASSWORD=…`, `"apiKey": "…"`, `token: …`, `--token …`: the value goes, the name stays."""
    text = _masked_values(text, _named_values(text), counts)
    if "value" in text:
        text = _masked_values(text, _variables(text), counts)
    return _masked_values(text, _flags(text), counts) if "-" in text else text


def _masked_values(text: str, spans: Sequence[tuple[int, int, str]], counts: Counter[str]) -> str:
    out: list[str] = []
    here = 0
    for start, end, kind in spans:
        if start < here:
            continue
        out += [text[here:start], f"[redacted:{kind}]"]
        here = end
        counts[kind] += 1
    return "".join([*out, text[here:]]) if out else text


def _named_values(text: str) -> list[tuple[int, int, str]]:
    """(start, end, kind) of the values that are secret by their name, or by their look under such a name."""
    found: list[tuple[int, int, str]] = []
    here = 0
    for key in _KEY.finditer(text):
        if key.start() < here:
            continue
        sort = _sort_of(key.group(0)[-100:])
        if sort is _Sort.WEAK and _BEFORE_KEY.search(text, max(0, key.start() - 12), key.start()):
            sort = _Sort.STRONG
        if sort is _Sort.EVIDENCE:
            continue
        separator = _SEPARATOR.match(text, key.end())
        if separator is None:
            continue
        pattern = _PATTERNS[sort]
        value = pattern.match(text, separator.end())
        if value is None or _is_mask(value.group(0)):
            continue
        if sort is _Sort.STRONG or sort is _Sort.PASSWORD:
            kind = "assigned_secret"
            secret = not _harmless(text, sort is _Sort.PASSWORD, value)
        else:
            kind = "high_entropy"
            bare = value.group(0).strip("\\\"'")
            secret = drawn_by_lot(bare) if sort is _Sort.WEAK else surely_drawn_by_lot(bare)
        if secret:
            found.append((value.start(), value.end(), kind))
            here = value.end()
    return found


def _harmless(text: str, password: bool, value: re.Match[str]) -> bool:
    """Whether what stands after a secret's name is a switch, a number, or how a sentence goes on."""
    bare = value.group(0).strip("\\")
    if says_nothing(bare) or (not password and short_number(bare)):
        return True
    start = value.start()
    if bare[:1] in "\"'" or text[start - 1] not in " \t" or text[start - 2] != ":":
        return False
    return prose(bare) or (not password and _SENTENCE.match(text, start) is not None)


def _is_mask(value: str) -> bool:
    return "[redacted:" in value and _MASK.fullmatch(value) is not None


def _variables(text: str) -> list[tuple[int, int, str]]:
    """Values of `{"name": "DB_PASSWORD", "value": "…"}`, also as YAML and escaped in another text."""
    found: list[tuple[int, int, str]] = []
    for match in _VARIABLE.finditer(text):
        if not secret_name(match.group(1)):
            continue
        value = _VALUE.match(text, match.end())
        if value is None or _is_mask(value.group(0)):
            continue
        if not says_nothing(value.group(0)):
            found.append((value.start(), value.end(), "assigned_secret"))
    return found


def _flags(text: str) -> list[tuple[int, int, str]]:
    """Values of `--password …` and `"--token", "…"`."""
    found: list[tuple[int, int, str]] = []
    for flag in _FLAG.finditer(text):
        if _sort_of(flag.group(1)[-100:]) not in (_Sort.STRONG, _Sort.PASSWORD):
            continue
        value = _VALUE.match(text, flag.end())
        if value is None or _is_mask(value.group(0)):
            continue
        bare = value.group(0)
        if not (
            says_nothing(bare)
            or prose(bare.strip("\"'"))
            or short_number(bare)
            or bare.startswith("[redacted:")
        ):
            found.append((value.start(), value.end(), "assigned_secret"))
    return found


class _Sort:
    """What a name tells of its value."""

    STRONG, PASSWORD, WEAK, EVIDENCE, OTHER = "strong", "password", "weak", "evidence", "other"


# what is looked at and then left must be bounded: the next name may stand within it
_PATTERNS = {
    _Sort.STRONG: _VALUE,
    _Sort.PASSWORD: _VALUE,
    _Sort.WEAK: re.compile(r"\\{0,4}[\"']?[^\s,;&\"'\\]{3,512}+"),
    _Sort.OTHER: _LONG_VALUE,
}
_PASSWORD = re.compile(r"(?i)pass|pwd|pin|otp")


@lru_cache(maxsize=8192)
def _sort_of(name: str) -> str:
    if strong_name(name):
        return _Sort.PASSWORD if _PASSWORD.search(name) else _Sort.STRONG
    if weak_name(name) and not evidence_name(name):
        return _Sort.WEAK
    return _Sort.EVIDENCE if evidence_name(name) else _Sort.OTHER


def redact_value(name: str, value: Any) -> Any:
    """A structure with every string in it masked; strings under secret names are masked whole.

    An environment variable (`{"name": …, "value": …}`) is judged by the name that it carries, and of a
    Kubernetes Secret every value is masked.
    """
    return masked_structure(name, value, lambda text: redact(text).text)


def masked_structure(
    name: str, value: Any, mask: Callable[[str], str], count: Callable[[str, int], None] | None = None
) -> Any:
    """As `redact_value`, with another way to mask a text; `count` is told of what goes by its name."""
    if isinstance(value, str):
        if not value or not secret_name(name):
            return mask(value)
        if count is not None and value != BY_NAME:
            count("by_name", 1)
        return BY_NAME
    if isinstance(value, dict):
        variable = value.get("name")
        masked = {}
        for key, inner in value.items():
            under = variable if key == "value" and isinstance(variable, str) else str(key)
            masked[key] = masked_structure(under, inner, mask, count)
        if value.get("kind") == "Secret":
            masked |= {key: _all_masked(value[key], count) for key in ("data", "stringData") if key in value}
        return masked
    if isinstance(value, list | tuple):
        return [masked_structure(name, inner, mask, count) for inner in value]
    return value


def _all_masked(values: Any, count: Callable[[str, int], None] | None) -> Any:
    if not isinstance(values, dict):
        return BY_NAME
    if count is not None and values:
        count("by_name", len(values))
    return dict.fromkeys(values, BY_NAME)
