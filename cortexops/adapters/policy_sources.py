"""Where the rules of a bundle stand, and which parts of the question and of the data they look at.

A reader of Rego's text, not an evaluator: it finds rules by their heads and follows names from rule to rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_HEAD = re.compile(r"^(?:default\s+)?(?P<name>[A-Za-z_]\w*)")
_ALIAS = re.compile(r"^(?P<name>[A-Za-z_]\w*)\s*:=\s*(?P<path>[A-Za-z_]\w*(?:\.\w+)+)\s*$")
_PATH = re.compile(r"(?<![\w.])([A-Za-z_]\w*)((?:\.\w+)*)")
_QUIET = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|#[^\n]*')
_CONFIG = "data.cortexops.config"


@dataclass(frozen=True)
class RuleSource:
    """One rule as it is written."""

    file: str
    line: int
    name: str
    text: str


class Sources:
    """All rules of the modules that decide."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self.rules = [rule for file, text in sorted(modules.items()) for rule in _rules(file, text)]
        self._named: dict[str, list[RuleSource]] = {}
        self._aliases: dict[str, str] = {}
        for rule in self.rules:
            self._named.setdefault(rule.name, []).append(rule)
            alias = _ALIAS.match(rule.text)
            if alias:
                self._aliases[alias["name"]] = alias["path"]

    def giving(self, collection: str, reason: str) -> list[RuleSource]:
        """The rules that add this reason to a collection (`denials`, `approvals`, `permits`)."""
        said = f'"{reason}"'
        return [rule for rule in self._named.get(collection, []) if said in rule.text]

    def looks_at(self, rule: RuleSource) -> list[str]:
        """Paths of the question (`input.…`) and of the data that it depends on, sorted."""
        found: set[str] = set()
        self._follow(rule, found, {rule.name})
        whole = sorted(found)
        return [path for path in whole if not any(other.startswith(f"{path}.") for other in whole)]

    def _follow(self, rule: RuleSource, found: set[str], seen: set[str]) -> None:
        for name, rest in _PATH.findall(_QUIET.sub(" ", rule.text)):
            path = self._resolved(name) + rest
            if path.startswith(("input.", f"{_CONFIG}.")):
                found.add(path)
            elif name in self._named and name not in seen:
                seen.add(name)
                for other in self._named[name]:
                    self._follow(other, found, seen)

    def _resolved(self, name: str) -> str:
        for _ in range(10):  # an alias of an alias; a circle would be refused by the engines
            path = self._aliases.get(name)
            if path is None:
                return name
            first, _, rest = path.partition(".")
            if first not in self._aliases:
                return path
            name = first
            return f"{self._resolved(first)}.{rest}"
        return name


def value_at(path: str, question: Mapping[str, Any], data: Mapping[str, Any]) -> Any:
    """What stands there; None when nothing does."""
    first, *rest = path.split(".")
    here: Any = question if first == "input" else data
    for part in rest:
        if isinstance(here, Mapping) and part in here:
            here = here[part]
        else:
            return None
    return here


def _rules(file: str, text: str) -> list[RuleSource]:
    found: list[RuleSource] = []
    lines = text.splitlines()
    starts = [
        number
        for number, line in enumerate(lines)
        if (head := _HEAD.match(line)) and head["name"] not in ("package", "import", "else")
    ]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        body = lines[start:end]
        while body and (not body[-1].strip() or body[-1].startswith("#")):
            body.pop()
        head = _HEAD.match(lines[start])
        assert head is not None
        found.append(RuleSource(file=file, line=start + 1, name=head["name"], text="\n".join(body)))
    return found
