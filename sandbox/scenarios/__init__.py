"""Scenarios: clusters that break on command, each with the truth about why.

`names()` lists them, `load(name)` reads one. Texts in them may say `$ago(6h)` or `$now`, which become
timestamps, and alerts `$pod(namespace,label=value)`, which becomes the name of the worst such pod.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml
from pydantic import ValidationError

from cortexops.domain.errors import InvalidInput
from sandbox.scenarios.schema import Part, Scenario

_FOLDER = files(__name__)


def names() -> list[str]:
    """The scenarios that come along."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml")
    )


def load(name: str) -> Scenario:
    """The scenario of that name with its included parts. Raises InvalidInput when unknown or malformed."""
    if name not in names():
        raise InvalidInput("scenario", f"there is no {name!r}; there are {', '.join(names())}")
    try:
        scenario = Scenario(name=name, **_read(f"{name}.yaml"))
        parts = [Part(**_read(f"parts/{part}.yaml")) for part in scenario.include]
    except ValidationError as error:
        raise InvalidInput(f"scenario {name}", str(error)) from error
    return scenario.model_copy(
        update={
            "objects": (*(one for part in parts for one in part.objects), *scenario.objects),
            "history": (*(one for part in parts for one in part.history), *scenario.history),
            "models": (*(one for part in parts for one in part.models), *scenario.models),
        }
    )


def _read(path: str) -> dict[str, Any]:
    return dict(yaml.safe_load(_FOLDER.joinpath(path).read_text(encoding="utf-8")))
