"""The process in which Rego is evaluated. It reads JSON lines on stdin and answers JSON lines on stdout.

The engine holds the interpreter's lock while it evaluates, so a rule that never ends would stop every thread
of the worker with it. Here it stops a child, which the parent kills.

First line: `{"modules": {name: text}, "data": {…}}`, answered by `{"ready": true}` or `{"error": text}`.
Each further line: `{"rule": path, "input": …}`, answered by `{"value": …}` or `{"error": text}`.
An undefined rule has the value null.

Imports nothing of the product: it starts in a few hundredths of a second.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_MEMORY_LIMIT = (
    1 << 30
)  # bytes of address space: a rule that builds a huge value ends the child, not the host
_UNDEFINED = "<undefined>"


def _limit_memory() -> None:
    # The engine's allocator would reserve 1 GiB of addresses at once, which is all that is allowed here. It
    # reads this when it is loaded, so the engine is imported afterwards.
    os.environ["MIMALLOC_ARENA_RESERVE"] = "65536"  # KiB
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
    except (ImportError, ValueError, OSError):
        return  # not every system has this limit; the time limit remains


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _reason(error: Exception) -> str:
    """The engine's message without the native stack that it appends."""
    return str(error).split("\n\nStack backtrace", 1)[0].strip()


def _load(line: str) -> Any:
    import regorus

    bundle = json.loads(line)
    engine = regorus.Engine()
    engine.set_gather_prints(True)
    engine.add_data_json(json.dumps(bundle["data"]))
    for name, text in bundle["modules"].items():
        engine.add_policy(name, text)
    return engine


def _answer(engine: Any, line: str) -> dict[str, Any]:
    question = json.loads(line)
    fresh = engine.clone()  # nothing is carried over from the question before
    if "input" in question:
        fresh.set_input_json(json.dumps(question["input"]))
    value = json.loads(fresh.eval_rule_as_json(question["rule"]))
    return {"value": None if value == _UNDEFINED else value}


def main() -> int:
    _limit_memory()
    try:
        engine = _load(sys.stdin.readline())
    except (RuntimeError, ValueError, KeyError) as error:
        _say({"error": _reason(error)})
        return 1
    _say({"ready": True})
    for line in sys.stdin:
        try:
            answer = _answer(engine, line)
        except (RuntimeError, ValueError, KeyError) as error:
            answer = {"error": _reason(error)}
        _say(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
