"""What the tests of this folder read: the Compose file, and how its variables are filled in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("build") == "."}
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([?-])([^}]*))?\}")
SAMPLE = "0123456789abcdef01234567"
PEOPLE = json.dumps([{"id": "ana", "roles": ["oncall"], "token_sha256": "0" * 64}])


def filled(text: str) -> str:
    """The value as Compose would hand it on: a default where there is one, else something that fits."""
    values = {"PEOPLE": PEOPLE, "CLUSTER_NAME": "eu-1", "CONSOLE_URL": "https://cortexops.example.com"}
    return VARIABLE.sub(
        lambda found: found[3] if found[2] == "-" else values.get(found[1], SAMPLE), text
    ).replace("$$", "$")
