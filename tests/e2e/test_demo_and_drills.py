"""What the README's first command does, and the drill that matters most."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.engines import scratch_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

CLI = Path(sys.executable).parent / "cortexops"


def test_the_demo_ends_well_with_its_three_incidents() -> None:
    with scratch_folder() as folder:
        done = subprocess.run(
            [str(CLI), "demo", "--data", str(folder / "data")],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert done.stdout.count("RESOLVED") >= 2
    assert "ROLLED_BACK" in done.stdout
    assert "0 faults" in done.stdout


def test_a_worker_killed_after_the_change_leaves_one_change_and_a_report(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(CLI), "drills", "remediator-killed-after", "--report", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    report = (tmp_path / "drills.md").read_text("utf-8")
    assert "the object was changed exactly once" in report
    assert (tmp_path / "drills.xml").is_file()
