"""YAML from people and from addresses: plain data only, of bounded size, depth and number of values.

Aliases are refused: with them a few hundred bytes stand for gigabytes, and no runbook needs one. A key that
stands twice is an error, since the second one would silently win.
"""

from __future__ import annotations

from typing import Any

import yaml

from cortexops.domain.errors import InvalidInput

MOST_BYTES = 262_144
_MOST_NODES = 5000
_DEEPEST = 20


class _Loader(yaml.SafeLoader):
    """The safe loader with bounds. Raises `InvalidInput` in the middle, before memory is used."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._nodes = 0
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise InvalidInput(f"line {self.line + 1}", "aliases (*name) are not allowed: write it out")
        self._nodes += 1
        self._depth += 1
        if self._nodes > _MOST_NODES or self._depth > _DEEPEST:
            raise InvalidInput(
                "file", f"holds more than {_MOST_NODES} values, or is nested over {_DEEPEST} deep"
            )
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise InvalidInput(
                    f"line {key.start_mark.line + 1}", "merges (<<) are not allowed: write it out"
                )
            if key.tag != "tag:yaml.org,2002:str":
                raise InvalidInput(f"line {key.start_mark.line + 1}", "a key must be text: put it in quotes")
            if key.value in seen:
                raise InvalidInput(
                    f"line {key.start_mark.line + 1}", f"{key.value[:60]!r} stands there twice"
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_yaml(raw: bytes) -> Any:
    """The one document in the bytes. Raises `InvalidInput` naming the line and what to mend."""
    if len(raw) > MOST_BYTES:
        raise InvalidInput("file", f"is larger than {MOST_BYTES // 1024} KiB")
    try:
        loader = _Loader(raw.decode("utf-8"))
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except UnicodeDecodeError:
        raise InvalidInput("file", "is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}" if mark else "file"
        raise InvalidInput(where, f"is not YAML: {(error.problem or 'it cannot be read')[:200]}") from None
    except yaml.YAMLError:
        raise InvalidInput("file", "is not YAML: it holds characters that may not be in it") from None
    except (ValueError, OverflowError) as error:  # a number or date that cannot be one
        raise InvalidInput("file", f"holds a value that cannot be read: {str(error)[:200]}") from None
    except RecursionError:
        raise InvalidInput("file", "is nested too deep") from None
