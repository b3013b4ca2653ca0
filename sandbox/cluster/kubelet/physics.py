"""What a running program does in the next moment: a pure function of its state and its surroundings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import urlsplit

from sandbox.cluster.kubelet.models import ConfigNeed, WorkloadModel

OOM_EXIT = 137
TERM_EXIT = 143
_LONGEST_STEP = 1.0  # nominal seconds; longer spans are walked in steps so that no spike is jumped over
_COLD_SHARE = 0.3  # of the base that a program holds the moment it starts


@dataclass(frozen=True, slots=True)
class Program:
    """A program from its start. `age` is nominal seconds, `memory` bytes."""

    age: float = 0.0
    memory: int = 0
    checked: bool = False
    up: bool = False
    down: tuple[str, ...] = ()
    next_call: float = 0.0
    next_line: float = 0.0
    lines: int = 0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the program sees. `reach` answers why an address cannot be reached, or nothing."""

    tag: str = "latest"
    memory_limit: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    reach: Callable[[str], str] = lambda _address: ""
    phase: float = 0.0  # shifts spikes, so that replicas do not all spike at once


class Line(NamedTuple):
    """The program wrote a line."""

    text: str


class Exit(NamedTuple):
    """The program ended."""

    code: int
    reason: str


Effect = Line | Exit


def step(
    model: WorkloadModel, program: Program, around: Surroundings, seconds: float
) -> tuple[Program, list[Effect]]:
    """The program so many nominal seconds later and what it did; nothing happens after an Exit."""
    effects: list[Effect] = []
    left = max(seconds, 0.0)
    while True:
        span = min(left, _LONGEST_STEP)
        program, done = _moment(model, program, around, span)
        effects.extend(done)
        left -= span
        if left <= 1e-9 or (done and isinstance(done[-1], Exit)):
            return program, effects


def memory_at(model: WorkloadModel, around: Surroundings, age: float, leaked: float) -> int:
    """Bytes held at an age: the base, warmed up, what has leaked, and a spike when one is on."""
    memory = model.memory
    base = memory.base_by_tag.get(around.tag, memory.base)
    if memory.warm_up > 0 and age < memory.warm_up:
        base = int(base * (_COLD_SHARE + (1 - _COLD_SHARE) * age / memory.warm_up))
    spike = 0
    if memory.spike is not None and age >= memory.warm_up + memory.spike.after:
        within = (
            age - memory.warm_up - memory.spike.after + around.phase * memory.spike.every
        ) % memory.spike.every
        spike = memory.spike.amount if within < memory.spike.lasts else 0
    return base + int(leaked) + spike


def answers(model: WorkloadModel, program: Program, port: int, path: str | None) -> int:
    """The HTTP status at a port and path: 0 refuses the connection; `path` None asks for the port alone."""
    if not program.up:
        return 0
    served = {one.port: one for one in model.serves}
    if served and port not in served:
        return 0
    if path is None:
        return 200
    here, plain = served.get(port), path.partition("?")[0]
    if here is not None and here.paths and plain not in here.paths:
        return 404
    if here is not None and plain in here.steady:
        return 200
    unready = {
        dependency.address or dependency.env
        for dependency in model.dependencies
        if dependency.on_failure == "unready"
    }
    return 503 if unready.intersection(program.down) else 200


def wrong(need: ConfigNeed, value: str | None) -> str:
    """Why the program cannot work with that value, or nothing."""
    if value is None:
        return "not set"
    if need.matches and re.search(need.matches, value) is None:
        return f"does not match {need.matches}"
    return _unparsable(need.parses, value)


def _unparsable(parses: str, value: str) -> str:
    try:
        if parses == "int":
            int(value)
        elif parses == "float":
            float(value)
        elif parses == "json":
            json.loads(value)
        elif parses == "bool" and value.lower() not in ("true", "false", "1", "0"):
            return "not a boolean"
        elif parses == "url" and not (urlsplit(value).scheme and urlsplit(value).hostname):
            return "not a URL"
        elif parses == "hostport" and re.fullmatch(r"[\w.-]+:\d+", value) is None:
            return "not host:port"
    except ValueError as error:
        return str(error)
    return ""


def _moment(
    model: WorkloadModel, before: Program, around: Surroundings, span: float
) -> tuple[Program, list[Effect]]:
    effects: list[Effect] = []
    age = before.age + span
    if before.age == 0.0 and not before.checked and before.lines == 0:
        effects.extend(Line(text) for text in model.starting)
    leaking = max(0.0, age - model.start_seconds)
    memory = memory_at(model, around, age, leaking * model.memory.growth_per_second)
    now = replace(before, age=age, memory=memory, lines=max(before.lines, 1))
    if around.memory_limit is not None and memory > around.memory_limit:
        return now, [*effects, Exit(OOM_EXIT, "OOMKilled")]
    if not now.checked and age >= model.start_seconds / 2:
        now = replace(now, checked=True)
        failed = _check_config(model, around)
        if failed:
            return now, [*effects, *failed]
    if not now.up and age >= model.start_seconds:
        now = replace(now, up=True, next_line=age + model.chatter.every)
        effects.extend(Line(text) for text in model.started)
    if now.up and model.dependencies and age >= now.next_call:
        now, called = _call(model, now, around)
        effects.extend(called)
        if called and isinstance(called[-1], Exit):
            return now, effects
    crash = model.crash
    if crash is not None and age >= crash.after and (not crash.tags or around.tag in crash.tags):
        return now, [*effects, *(Line(text) for text in crash.log), Exit(crash.exit_code, "Error")]
    if model.completes_after is not None and age >= model.completes_after:
        return now, [*effects, Exit(0, "Completed")]
    if model.chatter.lines and now.up and age >= now.next_line:
        text = model.chatter.lines[(now.lines - 1) % len(model.chatter.lines)]
        effects.append(Line(text.replace("{memory_mib}", str(memory // 2**20))))
        now = replace(now, lines=now.lines + 1, next_line=age + model.chatter.every)
    return now, effects


def _check_config(model: WorkloadModel, around: Surroundings) -> list[Effect]:
    for need in model.config:
        if need.tags and around.tag not in need.tags:
            continue
        name = need.env or need.file
        value = around.env.get(need.env) if need.env else around.files.get(need.file)
        problem = wrong(need, value)
        if problem:
            shown = {"name": name, "value": value or "", "problem": problem}
            return [*(Line(text.format(**shown)) for text in need.log), Exit(need.exit_code, "Error")]
    return []


def _call(model: WorkloadModel, program: Program, around: Surroundings) -> tuple[Program, list[Effect]]:
    effects: list[Effect] = []
    down: list[str] = []
    pause = min(dependency.every for dependency in model.dependencies)
    program = replace(program, next_call=program.age + pause)
    for dependency in model.dependencies:
        address = around.env.get(dependency.env, dependency.address) if dependency.env else dependency.address
        error = around.reach(address)
        if not error:
            continue
        down.append(dependency.address or dependency.env)
        effects.extend(Line(text.format(address=address, error=error)) for text in dependency.log)
        if dependency.on_failure == "crash":
            return replace(program, down=tuple(down)), [*effects, Exit(dependency.exit_code, "Error")]
    return replace(program, down=tuple(down)), effects
