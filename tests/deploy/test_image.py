"""The Dockerfile: what linters ask for, and that what it copies is enough to build."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.deploy.files import ROOT

TEXT = (ROOT / "Dockerfile").read_text("utf-8")
STEPS = [line for line in TEXT.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
COPIED = [
    part for step in STEPS if step.startswith("COPY ") and "--from" not in step for part in step.split()[1:-1]
]
IGNORED = [
    line
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


def steps(word: str) -> list[str]:
    return [step for step in STEPS if step.startswith(f"{word} ")]


def test_bases_are_pinned_and_small() -> None:  # DL3006, DL3007
    bases = steps("FROM")
    assert len(bases) == 2
    assert len({base.split()[1] for base in bases}) == 1, "built and run on different Pythons"
    assert all(re.match(r"FROM python:\d+\.\d+\.\d+-slim-\w+( AS build)?$", base) for base in bases)


def test_runs_as_a_user_of_its_own_that_is_named_by_number() -> None:  # DL3002
    assert steps("USER") == ["USER 10001:10001"]
    assert STEPS.index("USER 10001:10001") > STEPS.index(steps("FROM")[1])


def test_commands_are_in_exec_form() -> None:  # DL3025
    assert re.fullmatch(r'ENTRYPOINT \["python", "-m", "workers"\]', steps("ENTRYPOINT")[0])
    assert len(steps("ENTRYPOINT")) == 1  # DL4004
    assert re.search(r"HEALTHCHECK .* CMD \[", steps("HEALTHCHECK")[0])
    assert len(steps("HEALTHCHECK")) == 1  # DL3012


def test_layers_hold_no_caches_and_the_image_no_installer() -> None:  # DL3042
    for step in steps("RUN"):
        for command in re.findall(r"-m pip .*?install [^&]*", step):
            assert "--no-cache-dir" in command
            assert "--constraint constraints.txt" in command  # DL3013: versions are pinned
    assert "venv --without-pip" in TEXT


def test_none_of_the_discouraged_instructions_is_used() -> None:
    assert not steps("ADD")  # DL3020
    assert not steps("MAINTAINER")  # DL4000
    assert not re.search(r"\bsudo\b|apt-get upgrade|curl |wget ", TEXT)  # DL3004, DL3005, DL4001
    assert not [step for step in steps("RUN") if re.search(r"RUN cd |\|", step)]  # DL3003, DL4006
    assert not [step for step in steps("WORKDIR") if not step.split()[1].startswith("/")]  # DL3000
    assert not re.search(r"(?i)^(ENV|ARG) .*(password|token|secret)", TEXT, re.MULTILINE)


def test_only_what_is_copied_reaches_the_builder() -> None:
    assert IGNORED[0] == "*"
    assert {line.removeprefix("!") for line in IGNORED if line.startswith("!")} == set(COPIED)
    assert all((ROOT / part).exists() for part in COPIED)


@pytest.mark.slow
def test_what_is_copied_is_enough_to_build_the_wheel(tmp_path: Path) -> None:
    leave = shutil.ignore_patterns("__pycache__", "*.pyc")
    for part in COPIED:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part, ignore=leave)
        else:
            shutil.copy(ROOT / part, tmp_path)
    command = next(re.findall(r"-m (build .*?) *&&", step) for step in steps("RUN") if "-m build" in step)
    arguments = command[0].replace("/wheels", str(tmp_path / "wheels")).split()
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "workers/probe.py" in names
    assert "cortexops/_data/policies/decision.rego" in names
