"""Scenarios: clusters that break on command, each with the truth about why.

`scenario_names()` lists them, `load_scenario(name)` reads one; `names` and `load` are their short names. Texts in
them may say `$ago(6h)` or `$now`, which become timestamps, and alerts `$pod(namespace,label=value)`, which becomes
the name of the worst such pod. Included parts say `$home` and `$environment`, which become the scenario's own.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml
from pydantic import ValidationError

from cortexops.domain.errors import InvalidInput
from sandbox.scenarios.schema import Part, Scenario

__all__ = ["Scenario", "load", "load_scenario", "names", "scenario_names"]

_FOLDER = files(__name__)


def scenario_names() -> list[str]:
    """The scenarios that come along."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml")
    )


def load_scenario(name: str) -> Scenario:
    """The scenario of that name with its included parts. Raises InvalidInput when unknown or malformed."""
    if name not in scenario_names():
        raise InvalidInput("scenario", f"there is no {name!r}; there are {', '.join(scenario_names())}")
    try:
        scenario = Scenario(name=name, **_read(f"{name}.yaml", {}))
        values = {"$home": scenario.home, "$environment": scenario.environment}
        parts = [Part(**_read(f"parts/{part}.yaml", values)) for part in scenario.include]
    except ValidationError as error:
        raise InvalidInput(f"scenario {name}", str(error)) from error
    return scenario.model_copy(
        update={
            "objects": (*(one for part in parts for one in part.objects), *scenario.objects),
            "history": (*(one for part in parts for one in part.history), *scenario.history),
            "models": (*(one for part in parts for one in part.models), *scenario.models),
        }
    )


names, load = scenario_names, load_scenario


def _read(path: str, values: dict[str, str]) -> dict[str, Any]:
    text = _FOLDER.joinpath(path).read_text(encoding="utf-8")
    for template, value in values.items():
        text = text.replace(template, value)
    return dict(yaml.safe_load(text))
