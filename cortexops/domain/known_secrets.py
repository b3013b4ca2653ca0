"""Secrets that were seen: values of Secrets and of variables with secret names, masked wherever they occur.

A value is looked for as it is and as it commonly travels: in base64 (also within a longer stretch), with
percent signs, escaped as in JSON, in hexadecimal, backwards. The values stay in memory for the time of one
investigation and are written nowhere.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import quote, quote_plus

from cortexops.domain.redaction import secret_name

KNOWN_SECRET = "[redacted:known_secret]"
_SHORTEST = 6  # characters: a shorter value stands in too many words
_SHORTEST_ENCODED = 8
_LONGEST = 8192  # characters that are looked for of one value
_MOST = 500  # values
_HARMLESS = re.compile(
    r"(?:true|false|enabled|disabled|default|postgres(?:ql)?|mysql|redis|mongodb?|admin|root|user(?:name)?|password|localhost"
    r"|production|staging|development|kubernetes|opaque|[0-9]{1,7}|[a-z]{1,5}://[^@\s]{1,200}|[a-z]+(?:[.-][a-z]+)*\.svc(?:\.[a-z.]+)?)",
    re.IGNORECASE,
)


_OPEN_KEY = re.compile(
    r"(?i)^(?:ca|tls|cert|client|server|root)?[._-]?(?:ca)?\.?(?:crt|cert|pem|bundle)$|(?:^|[._-])(?:user(?:name)?|host(?:name)?|port"
    r"|db[_-]?name|database|dbname|engine|dialect|driver|region|bucket|endpoint|server|name|namespace|type|scheme|protocol|issuer|realm"
    r"|zone|email)$"
)
"""Keys of a Secret that hold what everybody may read; it would be in too many sentences to be masked."""
_PASSWORD = re.compile(r"(?<=://)[^\s/:@]{0,200}+:([^\s/@]{1,200}+)(?=@)")


class KnownSecrets:
    """Values to mask. `mask` takes time linear in the text for each value."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._public: set[str] = set()
        self._forms: list[str] | None = []

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"KnownSecrets({len(self._values)})"

    def add(self, value: str) -> None:
        """Mask this value, and each of its lines that is long enough, from now on."""
        for part in {value, value.strip(), *(line.strip() for line in value.splitlines())}:
            short = part[:_LONGEST]
            if len(short) < _SHORTEST or _HARMLESS.fullmatch(short) or len(self._values) >= _MOST:
                continue
            if short.startswith("-----") and short.endswith("-----") and "\n" not in short:
                continue
            self._values.add(short)
            self._forms = None

    def spare(self, name: str) -> None:
        """The name of an object, and each part of it, is public: a value that is one of these is not masked."""
        self._public |= {name, *re.split(r"[-.]", name)}
        self._forms = None

    def learn(self, obj: Mapping[str, Any]) -> None:
        """Take in a Secret's values, and of other objects what stands under a name that means a secret: variables,
        arguments, keys of a ConfigMap; and passwords in addresses."""
        if obj.get("kind") == "Secret":
            for name, value in _leaves(obj.get("data")):
                if not _OPEN_KEY.search(name):
                    self._add_encoded(value)
            for name, value in _leaves(obj.get("stringData")):
                if not _OPEN_KEY.search(name):
                    self.add(value)
            return
        data = obj.get("data") if obj.get("kind") == "ConfigMap" else None
        for name, value in [*_variables(obj), *_leaves(data)]:
            if secret_name(name):
                self.add(value)
            elif "://" in value[:_LONGEST]:
                self._add_password(value[:_LONGEST])

    def _add_encoded(self, value: str) -> None:
        try:
            raw = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            self.add(value)
            return
        if len(value) >= _SHORTEST_ENCODED:
            self.add(value)
        text = raw.decode("utf-8", "ignore")
        self.add(text)
        if text.lstrip().startswith("{"):
            self._add_structure(text)
        if "://" in text[:_LONGEST]:
            self._add_password(text[:_LONGEST])

    def _add_password(self, text: str) -> None:
        for found in _PASSWORD.finditer(text):
            self.add(found.group(1))

    def _add_structure(self, text: str) -> None:
        """A Secret that holds JSON, such as a registry's login: each string in it is one."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return
        for name, value in _leaves(found):
            if secret_name(name) or name == "auth":
                self._add_encoded(value) if name == "auth" else self.add(value)

    def mask(self, text: str) -> tuple[str, int]:
        """The text without the values, and how many were masked."""
        number = 0
        for form in self._all_forms():
            if form in text:
                number += text.count(form)
                text = text.replace(form, KNOWN_SECRET)
        return text, number

    def _all_forms(self) -> list[str]:
        if self._forms is None:
            forms = {form for value in self._values - self._public for form in _forms(value)}
            self._forms = sorted(forms, key=lambda form: (-len(form), form))
        return self._forms


def _forms(value: str) -> set[str]:
    forms = {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(value, safe=""),
        quote_plus(value),
    }
    if len(value) >= _SHORTEST_ENCODED:
        raw = value.encode("utf-8", "surrogatepass")
        forms |= {raw.hex(), raw.hex().upper(), value[::-1]}
        for before in range(3):  # the value may begin at any of three places of a longer encoded stretch
            encoded = base64.b64encode(b"\0" * before + raw).decode("ascii").rstrip("=")
            first, last = (0, 2, 3)[before], -1 if (before + len(raw)) % 3 else len(encoded)
            core = encoded[first:last]
            if len(core) >= _SHORTEST_ENCODED:
                forms |= {core, core.replace("+", "-").replace("/", "_")}
    return {form for form in forms if len(form) >= _SHORTEST}


def _variables(value: Any) -> list[tuple[str, str]]:
    """(name, value) of every environment variable with a literal value and of every argument, at any depth."""
    found: list[tuple[str, str]] = []
    open_ = [value]
    while open_:
        here = open_.pop()
        if isinstance(here, Mapping):
            name, text = here.get("name"), here.get("value")
            if isinstance(name, str) and isinstance(text, str):
                found.append((name, text))
            for field in ("args", "command"):
                found += _arguments(here.get(field))
            open_.extend(inner for inner in here.values() if isinstance(inner, Mapping | list))
        elif isinstance(here, list):
            open_.extend(here)
    return found


def _arguments(parts: Any) -> list[tuple[str, str]]:
    """`--name=value` and `--name value` of an argument list."""
    if not isinstance(parts, list):
        return []
    words = [part for part in parts if isinstance(part, str)]
    pairs = [(word, after) for word, after in pairwise(words) if not after.startswith("-")]
    pairs += [(name, value) for name, sign, value in (word.partition("=") for word in words) if sign]
    return [(name.lstrip("-"), value) for name, value in pairs if name.startswith("-")]


def _leaves(value: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(value, str):
        return [(name, value)]
    if isinstance(value, Mapping):
        return [leaf for key, inner in value.items() for leaf in _leaves(inner, str(key))]
    if isinstance(value, list):
        return [leaf for inner in value for leaf in _leaves(inner, name)]
    return []
