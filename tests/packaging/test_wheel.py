"""The wheel holds what it should and works away from the checkout."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"cortexops", "workflows", "activities", "workers", "ingest", "console", "sandbox"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), cwd=ROOT)
    assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; dependencies are those of the running one."""
    home = tmp_path_factory.mktemp("venv")
    assert run(sys.executable, "-m", "venv", str(home), cwd=home).returncode == 0
    python = home / "bin" / "python"
    done = run(str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel), cwd=home)
    assert done.returncode == 0, done.stderr
    site = next((home / "lib").glob("python*/site-packages"))
    # Only third-party packages: the editable install of the checkout is a .pth, which this does not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    return home


def test_it_holds_our_packages_and_their_data(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == PACKAGES
    assert "cortexops/_data/policies/decision.rego" in names
    assert "cortexops/_data/migrations/env.py" in names
    assert all(f"{package}/py.typed" in names for package in PACKAGES)
    assert any(name.startswith("console/templates/") for name in names)
    assert any(name.startswith("console/static/") for name in names)
    assert "sandbox/scenarios/oom-after-release.yaml" in names
    assert not [name for name in names if name.startswith("tests/")]


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (("cortexops", "--version"), 0, ""),
        (("cortexops", "rbac"), 0, "ClusterRole"),
        (("cortexops", "policy", "test"), 0, "passed, 0 failed"),
        (("python", "-m", "workers"), 2, "usage"),
        (
            ("python", "-c", "import workflows.incident, cortexops; print(cortexops.__file__)"),
            0,
            "site-packages",
        ),
    ],
)
def test_it_works_from_another_folder(
    installed: Path, tmp_path: Path, command: tuple[str, ...], code: int, said: str
) -> None:
    program, *arguments = command
    done = run(str(installed / "bin" / program), *arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
