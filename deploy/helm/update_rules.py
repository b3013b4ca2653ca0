"""Write the chart's rules anew from what collectors and actions declare, as `cortexops rbac` prints them."""

from __future__ import annotations

from pathlib import Path

import yaml

from cortexops.cli.rbac import reading_rules, writing_rules

FILES = Path(__file__).parent / "cortexops" / "files"


def content() -> dict[str, str]:
    """Name of each file and what has to stand in it."""
    rules = {"investigator-rules.yaml": reading_rules(), "remediator-rules.yaml": writing_rules()}
    return {name: yaml.safe_dump(found, sort_keys=False) for name, found in rules.items()}


if __name__ == "__main__":
    for name, text in content().items():
        (FILES / name).write_text(text, encoding="utf-8")
