"""Names replaced by tokens, and back: for a model endpoint that is not to learn what things are called.

`[[workload-1]]` stands for one spelling of one name wherever it occurs, as long as the object lives. Names
that are given (namespaces, workloads, nodes …) are replaced as whole words, the longest first; addresses,
mail addresses and host names are recognised by their form. `reveal(hide(text)) == text` for every text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from enum import StrEnum

from cortexops.domain.resource import ResourceRef


class NameKind(StrEnum):
    """What a token stands for: the part before its number."""

    CLUSTER = "cluster"
    NAMESPACE = "namespace"
    WORKLOAD = "workload"
    HOST = "host"
    ADDRESS = "address"
    MAIL = "mail"
    NAME = "name"
    TEXT = "text"
    """Something that looked like a token before anything was hidden."""


_PUBLIC = frozenset({"default", "kube-system", "kube-public", "kube-node-lease", "kubernetes", "localhost"})
"""Names that every cluster has."""
_LOCAL = frozenset({"svc", "cluster", "local", "pod"})
_KINDS = "|".join(NameKind)
_TOKEN = re.compile(rf"\[\[(?:{_KINDS})-[0-9]{{1,9}}\]\]")
_MAIL = r"(?<![\w.+%-])[\w.+%-]{1,64}+@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}+"
_IP4 = r"(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w]|\.[0-9])"
_IP6 = r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}+(?![\w:])"
_WORDS = r"(?<![^\W_])[^\W_](?:[\w.-]*[^\W_])?"
_FOUND = re.compile(
    rf"(?P<token>{_TOKEN.pattern})|(?P<mail>{_MAIL})|(?P<ip4>{_IP4})|(?P<ip6>{_IP6})|{_WORDS}"
)
_PARTS = re.compile(r"[^\W_]++|[\W_]")
_DOMAINS = frozenset(
    [
        "com",
        "org",
        "net",
        "io",
        "dev",
        "cloud",
        "internal",
        "intern",
        "corp",
        "lan",
        "local",
        "home",
        "localdomain",
        "example",
        "invalid",
        "test",
        "app",
        "info",
        "biz",
        "edu",
        "gov",
        "mil",
        "int",
        "eu",
        "uk",
        "de",
        "fr",
        "nl",
        "it",
        "es",
        "se",
        "no",
        "fi",
        "dk",
        "pl",
        "at",
        "ch",
        "be",
        "ie",
        "us",
        "ca",
        "au",
        "nz",
        "jp",
        "cn",
        "in",
        "br",
        "ru",
        "za",
        "kr",
        "tech",
    ]
)
_IN_PARTS = 16  # parts of the longest name that is looked for


class Pseudonyms:
    """Tokens of one conversation. Not for sharing between conversations: equal tokens would tell of each other."""

    def __init__(self, names: Iterable[tuple[NameKind, str]] = ()) -> None:
        self._known: dict[str, NameKind] = {}
        self._longest = 1
        self._tokens: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._numbers: dict[NameKind, int] = {}
        for kind, name in names:
            self.learn(kind, name)

    @classmethod
    def of(cls, refs: Iterable[ResourceRef]) -> Pseudonyms:
        """With the clusters, namespaces and names of these objects."""
        made = cls()
        for ref in refs:
            made.learn(NameKind.CLUSTER, ref.cluster)
            made.learn(NameKind.NAMESPACE, ref.namespace)
            kind = {"Namespace": NameKind.NAMESPACE, "Node": NameKind.HOST}.get(ref.kind, NameKind.WORKLOAD)
            made.learn(kind, ref.name)
        return made

    def learn(self, kind: NameKind, name: str) -> None:
        """Hide this name from now on, however its letters are capitalised. What every cluster has stays."""
        name = name.strip().casefold()
        parts = len(_PARTS.findall(name))
        if name and name not in _PUBLIC and parts <= 2 * _IN_PARTS and re.fullmatch(r"[\w.-]+", name):
            self._known.setdefault(name, kind)
            self._longest = max(self._longest, parts)

    def hide(self, text: str) -> str:
        """The text with names as tokens."""
        return _FOUND.sub(self._hidden, text)

    def reveal(self, text: str) -> str:
        """The text with the names again; a token that was never given out stays as it is."""
        return _TOKEN.sub(lambda found: self._names.get(found.group(0), found.group(0)), text)

    def _hidden(self, found: re.Match[str]) -> str:
        whole = found.group(0)
        if found["token"]:
            return self._token(NameKind.TEXT, whole)
        if found["mail"]:
            return self._token(NameKind.MAIL, whole)
        if found["ip4"] or found["ip6"]:
            return self._token(NameKind.ADDRESS, whole) if _is_address(whole) else self._word(whole)
        return self._word(whole)

    def _word(self, whole: str) -> str:
        """A run of letters, digits, `.`, `-` and `_`: a name, several names, a host name, or a word."""
        known = self._known.get(whole.casefold())
        if known is not None:
            return self._token(known, whole)
        labels = whole.split(".")
        if len(labels) > 1 and (whole.endswith((".svc", ".cluster.local")) or ".svc." in whole):
            return ".".join(self._label(label) for label in labels)
        if len(labels) > 1 and labels[-1] in _DOMAINS and all(labels):
            return self._token(NameKind.HOST, whole)
        return self._parts(whole)

    def _label(self, label: str) -> str:
        """One part of a host name within the cluster: what is not known is a name all the same."""
        if not label or label in _LOCAL or label in _PUBLIC:
            return label
        hidden = self._parts(label)
        return self._token(NameKind.NAME, label) if hidden == label else hidden

    def _parts(self, whole: str) -> str:
        """Known names within the run, from the left, the longest first."""
        parts = _PARTS.findall(whole)
        if not self._known or (len(parts) == 1 and self._known.get(whole.casefold()) is None):
            return whole
        out: list[str] = []
        here = 0
        while here < len(parts):
            for length in range(min(self._longest, len(parts) - here), 0, -1):
                name = "".join(parts[here : here + length])
                kind = self._known.get(name.casefold())
                if kind is not None:
                    out.append(self._token(kind, name))
                    here += length
                    break
            else:
                out.append(parts[here])
                here += 1
        return "".join(out)

    def _token(self, kind: NameKind, name: str) -> str:
        token = self._tokens.get(name)
        if token is None:
            number = self._numbers[kind] = self._numbers.get(kind, 0) + 1
            token = f"[[{kind}-{number}]]"
            self._tokens[name], self._names[token] = token, name
        return token


def _is_address(text: str) -> bool:
    """An address that tells something of the place: neither this machine nor none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified)
