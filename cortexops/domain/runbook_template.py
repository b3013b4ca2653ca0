"""Templates of runbooks: `{{ name }}` stands for a value, and that is the whole language.

Nothing is evaluated. A value comes from an alert or from the cluster, so it is text that somebody else chose:
it is put in only where it has the form that the place asks for, and into a query only as a quoted string.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from cortexops.domain.errors import InvalidInput

Scalar = bool | int | float | str

NAME = re.compile(r"[a-z][a-z0-9_]{0,40}", re.ASCII)
"""What an output may be called."""
LABEL = re.compile(r"labels\.[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
"""An alert's label, as a template names it."""
_PLACE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_.]{0,79})\s*\}\}", re.ASCII)
_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
_KIND = re.compile(r"[A-Z][A-Za-z]{0,62}", re.ASCII)
_PARAMETER = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.:/]{0,251}[A-Za-z0-9])?", re.ASCII)
_LONGEST_LABEL_VALUE = 253
_LONGEST_WORDING = 300  # characters of one value in a text for people
_REGEX_SPECIAL = re.compile(r"([.*+?^${}()|\[\]\\])")


def names_in(template: str) -> list[str]:
    """The names that the template asks for, in order. Raises `InvalidInput` for braces that are no place."""
    rest = _PLACE.sub("", template)
    if "{{" in rest or "}}" in rest or "{%" in rest:
        raise InvalidInput(
            "template", "only {{ name }} is known between braces: no expressions, filters or calls"
        )
    return _PLACE.findall(template)


def is_name(name: str, known: frozenset[str]) -> bool:
    """Whether a template may name it: one of `known`, or a label of the alert."""
    return name in known or LABEL.fullmatch(name) is not None


class Missing(InvalidInput):
    """A value that a template needs is not there, or has not the form that its place asks for."""


def _render(
    template: str, values: Mapping[str, Scalar], fit: Callable[[str], bool], form: str, most: int
) -> str:
    def one(match: re.Match[str]) -> str:
        value = _text(values, match[1])
        if not fit(value):
            raise Missing(match[1], f"its value is not {form}")
        return value

    rendered = _PLACE.sub(one, template)
    if len(rendered) > most:
        raise Missing("template", f"becomes longer than {most} characters")
    return rendered


def _text(values: Mapping[str, Scalar], name: str) -> str:
    if name not in values:
        raise Missing(name, "is not known here")
    return as_text(values[name])


def as_text(value: Scalar) -> str:
    """As YAML and JSON write it: `true`, `3`, `0.5`, or the text itself."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def object_name(template: str, values: Mapping[str, Scalar]) -> str:
    """A name or namespace of Kubernetes. Raises `Missing` when it could not be one."""
    rendered = _render(template, values, lambda text: True, "", 1000)
    if not _OBJECT_NAME.fullmatch(rendered):
        raise Missing(_first(template), "is no name that Kubernetes allows")
    return rendered


def kind_name(template: str, values: Mapping[str, Scalar]) -> str:
    """A kind such as `Deployment`. Raises `Missing` when it could not be one."""
    rendered = _render(template, values, lambda text: True, "", 1000)
    if not _KIND.fullmatch(rendered):
        raise Missing(_first(template), "is no kind")
    return rendered


def parameter(template: Scalar, values: Mapping[str, Scalar]) -> Scalar:
    """A parameter of an action. One that is a single place keeps the value's type. Raises `Missing`."""
    if not isinstance(template, str):
        return template
    whole = _PLACE.fullmatch(template.strip())
    if whole is not None and isinstance(values.get(whole[1]), int | float):
        return values[whole[1]]
    return _render(template, values, lambda text: _PARAMETER.fullmatch(text) is not None, "a plain word", 253)


def wording(template: str, values: Mapping[str, Scalar]) -> str:
    """Text for people. What is not known is said to be so; nothing in a value can be more than text."""

    def one(match: re.Match[str]) -> str:
        if match[1] not in values:
            return f"({match[1]} is not known)"
        shown = as_text(values[match[1]])[:_LONGEST_WORDING]
        return "".join(c if c.isprintable() else " " for c in shown)

    return _PLACE.sub(one, template)


def expected(value: Scalar, values: Mapping[str, Scalar]) -> Scalar:
    """What a condition compares with. Raises `Missing`."""
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value.strip())
    if whole is not None:
        if whole[1] not in values:
            raise Missing(whole[1], "is not known here")
        return values[whole[1]]
    return _render(value, values, lambda text: text.isprintable(), "printable", 1000)


def _first(template: str) -> str:
    return next(iter(_PLACE.findall(template)), "template")


# -- PromQL --------------------------------------------------------------------------------------------


def _strings(query: str) -> list[tuple[int, int, bool]]:
    """(start, end, is a regular expression) of each double-quoted string, quotes left out.

    Raises `InvalidInput` for a string that does not end, and for the other two quotes with a place in them.
    """
    found = []
    at = 0
    while at < len(query):
        quote = query[at]
        if quote == "#":
            raise InvalidInput("metric.query", "may hold no comment")
        if quote not in "\"'`":
            at += 1
            continue
        end = at + 1
        while end < len(query) and query[end] != quote:
            end += 2 if query[end] == "\\" and quote != "`" else 1
        if end >= len(query):
            raise InvalidInput("metric.query", "a string in it does not end")
        if quote != '"' and _PLACE.search(query[at:end]):
            raise InvalidInput("metric.query", "a {{ name }} belongs between double quotes")
        if quote == '"':
            before = query[:at].rstrip()
            found.append((at + 1, end, before.endswith(("=~", "!~"))))
        at = end + 1
    return found


def check_query(query: str) -> list[str]:
    """The names in a query. Raises `InvalidInput` unless every place stands inside a double-quoted string:
    a value can then be nothing but the value of a label."""
    names = names_in(query)
    inside = sum(len(_PLACE.findall(query[start:end])) for start, end, _ in _strings(query))
    if inside != len(names):
        raise InvalidInput(
            "metric.query", 'a {{ name }} belongs between double quotes, as in {namespace="{{ namespace }}"}'
        )
    return names


def promql(query: str, values: Mapping[str, Scalar]) -> str:
    """The query with the values as label values: quoted, and as plain text where a regular expression is.

    Raises `Missing`.
    """
    parts, at = [], 0
    for start, end, regular in _strings(query):
        parts += [query[at:start], _PLACE.sub(_quoting(values, regular), query[start:end])]
        at = end
    return "".join([*parts, query[at:]])


def _quoting(values: Mapping[str, Scalar], regular: bool) -> Callable[[re.Match[str]], str]:
    def one(match: re.Match[str]) -> str:
        value = _text(values, match[1])
        if not value.isprintable() or len(value) > _LONGEST_LABEL_VALUE:
            raise Missing(match[1], "its value is not printable, or too long for a label")
        if regular:
            value = _REGEX_SPECIAL.sub(r"\\\1", value)
        return value.replace("\\", "\\\\").replace('"', '\\"')

    return one
