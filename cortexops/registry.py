"""Plug-ins by discovery: one file each, nothing else to touch.

A plug-in module calls `REGISTRY.register(kind, thing)` when it is imported; `discover(package)` imports
every module of the package. Two plug-ins of one kind stop the process: better at start than at 3 a.m.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import Generic, TypeVar

from cortexops.domain.errors import InvalidInput, PermanentError

T = TypeVar("T")


class Registry(Generic[T]):
    """The plug-ins of one sort, by kind."""

    def __init__(self, sort: str, package: str) -> None:
        self._sort = sort
        self._package = package
        self._things: dict[str, T] = {}
        self._discovered = False

    def register(self, kind: str, thing: T) -> T:
        """Add a plug-in. Raises `PermanentError` when the kind is taken."""
        if kind in self._things and self._things[kind] is not thing:
            raise PermanentError(f"two {self._sort}s are called {kind!r}; rename one of them")
        self._things[kind] = thing
        return thing

    def discover(self) -> Registry[T]:
        """Import every module of the package, once."""
        if not self._discovered:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                if not module.name.startswith("_"):
                    importlib.import_module(f"{self._package}.{module.name}")
            self._discovered = True
        return self

    def __getitem__(self, kind: str) -> T:
        self.discover()
        if kind not in self._things:
            raise InvalidInput(self._sort, f"{kind!r} is not known; known are {', '.join(self.kinds)}")
        return self._things[kind]

    def __contains__(self, kind: str) -> bool:
        self.discover()
        return kind in self._things

    def __iter__(self) -> Iterator[tuple[str, T]]:
        self.discover()
        return iter(sorted(self._things.items()))

    @property
    def kinds(self) -> list[str]:
        self.discover()
        return sorted(self._things)
