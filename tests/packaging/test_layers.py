"""The layers are a test, not a picture."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_import_contracts_are_kept() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    packages = ("cortexops", "workflows", "activities", "workers", "ingest", "console", "sandbox")
    long = [
        (len(file.read_text("utf-8").splitlines()), str(file.relative_to(ROOT)))
        for package in packages
        for file in (ROOT / package).rglob("*.py")
        if len(file.read_text("utf-8").splitlines()) > 450
    ]
    assert not long
