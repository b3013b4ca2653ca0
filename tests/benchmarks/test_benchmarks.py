"""The benchmarks run, in small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_quick_rows_are_measured() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "correlator", "gateway", "investigation"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert "correlator against bare" in done.stdout, done.stderr
    assert "10 incidents: until all is settled" in done.stdout
    assert "API requests" in done.stdout
