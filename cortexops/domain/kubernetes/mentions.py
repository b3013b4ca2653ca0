"""Whether a log line speaks of something that a ConfigMap or Secret gives to a program."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import NamedTuple

from cortexops.domain.kubernetes import complaints, hosts
from cortexops.domain.kubernetes.references import ConfigUse
from cortexops.domain.kubernetes.values import texts
from cortexops.domain.redaction import secret_name
from cortexops.domain.resource import JSON

_SHORTEST_VALUE = 3  # characters; shorter ones are found in any line
_SHORTEST_WORD = 6
_SHORTEST_BOUND = 6
_LONGEST_FILE = 20_000
_SOME_FILE = 0.75
"""A file that is not named: enough where one was changed, too little where none is known to have been."""
_UNREADABLE = re.compile(
    r"(?i)(\b(?:yaml|toml|ini|hcl)\b.{0,40}\b(?:line|column|position|parse|syntax|indicator|unmarshal)"
    r"|\b(?:load|read|pars|decod|unmarshal)\w* (?:the )?(?:config|configuration|settings)\b"
    r"|\b(?:invalid|bad|malformed) (?:config|configuration)\b|\bconfig(?:uration)? (?:file )?(?:is )?invalid\b)"
)
NAMES_ADDRESS = "names its address"
_TOKEN = re.compile(r"[A-Za-z0-9._-]+")
_COMMON = ("true", "false", "null", "none", "info", "error", "default", "debug", "warn", "production")
_NAME = r"(?-i:\b([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b)"
_ADDRESS = re.compile(r"(?<![\w.])(?!127\.|0\.)\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_UNSET = (
    re.compile(r"(?i)(?:environment |env )?var(?:iable)?s?:? [\"'`]?(?-i:([A-Z][A-Z0-9_]{2,}))[\"'`]?"),
    re.compile(
        rf"(?i)(?:missing|required|undefined|unset|empty|no value for|not found)\b[^A-Z\n]{{0,40}}?{_NAME}"
    ),
    re.compile(
        rf"(?i){_NAME}[\"'`]? (?:is (?:not set|missing|required|undefined|empty|unset)|must be set|not set"
        r"|not found|not defined)"
    ),
    re.compile(r"KeyError: '([A-Z][A-Z0-9_]{2,})'"),
    re.compile(r"(?i)could not resolve placeholder '([\w.-]+)'"),
)


class Mention(NamedTuple):
    """`key` is empty when none can be told; `strength` (0–1) is how surely the line means it."""

    key: str
    how: str
    strength: float


def distinct(value: str) -> bool:
    """A value that would not stand in a line by chance."""
    return len(value) > _SHORTEST_VALUE and value.lower() not in _COMMON


def mention(obj: JSON, uses: Sequence[ConfigUse], line: str) -> Mention | None:
    """How the line names a key, variable, value, host or mounted file that the object gives."""
    data = obj.get("data")
    keys = list(data) if isinstance(data, dict) else []
    values = texts(obj, "data")
    whole = any(not use.key for use in uses)
    taken = {use.key: use.env for use in uses if use.key}
    for key in keys:
        if not whole and key not in taken:
            continue
        for word in (taken.get(key, ""), key):
            if len(word) >= _SHORTEST_VALUE and complaints.names(line, word):
                return Mention(key, f"names {word}", 1.0)
    for key in keys:
        if (whole or key in taken) and (word := _bound(taken.get(key) or key, line)):
            return Mention(key, f"names {word}", 0.95)
    found: dict[str, Mention] = {}  # by what the line holds of it: the longest is the least likely chance
    for key in keys:
        value = _spread(values.get(key, "").strip())
        if (whole or key in taken) and value and not secret_name(key):
            inner = _inner(value, line) if "\n" in value else ""
            if inner:
                found.setdefault(inner, Mention(key, f"names {inner}", 0.95))
            elif "\n" in value and (address := _address(value, line)):
                found.setdefault(address, Mention(key, f"{NAMES_ADDRESS} {address}", 0.9))
            elif "\n" not in value and distinct(value) and value.lower() in line.lower():
                found.setdefault(value, Mention(key, f"shows its value {value[:80]}", 0.95))
            for host in hosts.hosts_in_value(key, value) if "\n" not in value else ():
                if complaints.names(line, host):
                    found.setdefault(host, Mention(key, f"names its host {host}", 0.9))
    if found:
        return found[max(found, key=lambda held: (len(held), found[held].strength))]
    for use in uses:
        if use.path and use.path.rstrip("/") and use.path in line:
            return Mention(
                keys[0] if len(keys) == 1 else "", f"names the mounted file under {use.path}", 0.85
            )
    documents = [key for key in keys if "\n" in values.get(key, "")]
    if documents and any(use.path for use in uses) and _UNREADABLE.search(line):
        key = documents[0] if len(documents) == 1 else ""
        return Mention(key, "says that it cannot read a configuration", _SOME_FILE)
    return None


def _bound(key: str, line: str) -> str:
    """The property that a framework makes of a variable (`Fx__Rate` → `Fx:Rate`, `TAX_URL` → `tax.url`)."""
    parts = [part for part in re.split(r"[_.:-]+", key) if part]
    if len(parts) < 2 or len("".join(parts)) < _SHORTEST_BOUND:
        return ""
    joined = r"[._:-]*".join(map(re.escape, parts))
    match = re.search(rf"(?i)(?<![\w.:-]){joined}(?![\w-])", line)
    return match.group(0) if match is not None and re.search(r"[.:]", match.group(0)) else ""


def _spread(value: str) -> str:
    """A JSON document in one line as one of many, with a setting in each; anything else as it is."""
    if "\n" not in value and value[:1] == "{" and len(value) <= _LONGEST_FILE:
        try:
            return json.dumps(json.loads(value), indent=1)
        except ValueError:
            return value
    return value


def _address(value: str, line: str) -> str:
    """A host that stands as a value in the document and that the line names: in small letters, with a hyphen or
    a dot, as a bare word may be anything."""
    named = set(_TOKEN.findall(line.lower()))
    for entry in value[:_LONGEST_FILE].splitlines():
        _, _, given = entry.partition("=" if "=" in entry else ":")
        for host in _TOKEN.findall(given):
            if len(host) > _SHORTEST_WORD and host in named and host[0].isalnum() and {*host} & {*"-."}:
                return str(host)
    return ""


def _inner(value: str, line: str) -> str:
    """A setting of a mounted file, or a whole line of it, that the line names."""
    for entry in value[:_LONGEST_FILE].splitlines():
        stripped = entry.strip()
        if len(stripped) > _SHORTEST_WORD and distinct(stripped) and stripped in line:
            return stripped
        name, separator, _ = stripped.partition("=" if "=" in entry else ":")
        name = name.strip().strip("\"'- ")
        if separator and len(name) > _SHORTEST_VALUE and " " not in name:
            for word in (name, name.rpartition(".")[2]):
                if len(word) > _SHORTEST_VALUE and complaints.names(line, word):
                    return name
        for address in _ADDRESS.findall(stripped):
            if complaints.names(line, address):
                return str(address)
        first = stripped.partition(" ")[0].strip("\"'{}[]();,")
        if len(first) > _SHORTEST_WORD and f"'{first}'" in line.replace('"', "'"):
            return first
    return ""


def unset_names(line: str) -> list[str]:
    """Variables that the line says are missing."""
    found = [match.group(1) for pattern in _UNSET for match in pattern.finditer(line)]
    return list(dict.fromkeys(found))
