"""The one line that tells best what a program complained of, as a person would quote it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

_MOST = 160  # characters
_FRAME = re.compile(
    r"^\s*at \S|^\s*File \"|^\s+\S+\.\w{1,4}:\d+|^\s*\^+\s*$|^goroutine \d+|^\s*\.\.\. \d+ more"
    r"|\S\.\w{1,4}:\d+:in [`'\"]"
)
_HEADING = re.compile(r"(?i)^\W*(?:traceback \(most recent call last\)|.{0,60}stack ?trace)\W*:?\s*$")
_GENERIC = re.compile(
    r"(?i)(?:^|[\]:|-]\s*)(?:\W*(?:error|fatal|severe)\W+)?"
    r"(?:application run failed|(?:http |api )?request (?:error|failed|failure)|unhandled (?:error|exception)"
    r"|an? (?:unhandled |unexpected )?(?:error|exception)(?: has)? occurred(?: while processing (?:the|your) request)?"
    r"|internal (?:server )?error|error starting application|application (?:startup )?failed(?: to start)?"
    r"|startup failed|exception during pool initialization|(?:main process |process )?exit(?:ing|ed)"
    r"|shutting down|terminating|something went wrong|error|failed|fatal)$"
)
_ROOT = re.compile(r"(?m)^\s*Caused by:\s*(.+)$")
_INNER = re.compile(
    r"(?i)(?<=\S)(?:\s+--->\s+|;\s+nested exception is:?\s+|[.;:]?\s+original exception:\s+|[.;]?\s+caused by:\s+"
    r"|\s+inner exception:\s+)(?=\S.{20})"
)
"""Before the cause of an error, where both stand in one line."""
_KLOG = re.compile(r"^\s*([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+\s+\d+ [\w./-]+:\d+\] ")
"""The head of a line as Kubernetes' own components write it; its first letter is the level."""
_HEAD = re.compile(
    r"^\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*\s+(?:(?:TRACE|DEBUG|INFO|WARN|ERROR|FATAL)\s+\d+ ---"
    r" (?:\[[^\]\n]{0,60}\]\s*){1,3}\S{1,80}\s*: )?"
)
"""When a line was written, and by whom, as Spring Boot puts it: what a long one says is worth more."""
_PAIR = re.compile(r"(\w+)=(?:\"((?:[^\"\\]|\\.)*)\"|(\S*))")
_WORDS = ("msg", "message", "@m", "Message", "event", "text")
_FAULTS = ("err", "error", "exception", "Exception", "cause", "stack_trace", "stacktrace", "thrown")
_INSIDE = ("message", "msg", "Message", "extendedStackTrace", "stack", "type")


def telling(lines: Sequence[str]) -> str:
    """The last line that is no frame of a stack, the innermost cause where a trace names one; "" of nothing."""
    said = [line for line in lines if not _FRAME.search(line) and not _HEADING.match(line)]
    levels = [match.group(1) if (match := _KLOG.match(line)) else "" for line in said]
    if not {"E", "F"}.isdisjoint(levels):
        said = [line for line, level in zip(said, levels, strict=True) if level not in ("I", "W")]
    inner = [line for line in said if _ROOT.search(line)]
    rest = [line for line in said if not says_little(line)]
    chosen = (inner or rest or said or list(lines) or [""])[-1]
    return quoted(chosen)


def says_little(line: str) -> bool:
    """Whether the line only says that something went wrong, as programs do after or before they say what."""
    return _GENERIC.search(quoted(line).rstrip(" .!:[]{}")) is not None


def quoted(line: str) -> str:
    """The line as it is put between quotation marks: of a structured one its message and its error."""
    whole = _KLOG.sub("", line).strip()
    fields = _fields(whole) or _pairs(whole)
    if fields is None:
        whole = whole.removeprefix("---> ")
        return (_INNER.split(_HEAD.sub("", whole))[-1] if len(whole) > _MOST else whole)[:_MOST]
    message = next((text for key in _WORDS if (text := _text(fields.get(key)))), "")
    fault = next((text for key in _FAULTS if (text := _text(fields.get(key)))), "")
    if not message and not fault:
        return whole[:_MOST]
    if not fault and isinstance(fields.get("attr"), dict):  # where MongoDB puts what its message is about
        fault = next((text for key in _FAULTS if (text := _text(fields["attr"].get(key)))), "")
    parts = [message, fault] if fault not in message else [message]
    return ": ".join(part for part in parts if part)[:_MOST]


def _fields(line: str) -> dict[str, Any] | None:
    """The fields of a line that is a JSON object, behind whatever a shipper put before it."""
    start = line.find("{")
    if start < 0 or not line.endswith("}") or start > 60:
        return None
    try:
        found = json.loads(line[start:])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _pairs(line: str) -> dict[str, Any] | None:
    """The fields of a line of `key=value` pairs, as logrus and slog write them."""
    if " msg=" not in f" {line}" or "level=" not in line:
        return None
    found = {key: quoted or plain for key, quoted, plain in _PAIR.findall(line)}
    return {key: value.replace('\\"', '"') for key, value in found.items()}


def _text(value: Any) -> str:
    """A field in one line: the root cause of a trace, the message of an error that is an object."""
    if isinstance(value, dict):
        value = next((value[key] for key in _INSIDE if isinstance(value.get(key), str)), "")
    if not isinstance(value, str):
        return ""
    causes = _ROOT.findall(value)
    chosen = causes[-1] if causes else next(iter(value.strip().splitlines()), "")
    return str(chosen).strip()
