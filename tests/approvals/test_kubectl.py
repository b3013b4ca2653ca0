"""`kubectl cortexops …` through the real kubectl, which finds the plug-in on PATH."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cortexops.adapters.postgres import PostgresStore
from cortexops.domain.approval import Decision
from tests.console.support import World
from tests.console.test_browser import served
from tests.support.case import ANA_TOKEN, BO_TOKEN, DIGEST, VIEWER_TOKEN, open_case

ROOT = Path(__file__).resolve().parents[2]
KUBECTL = shutil.which(
    "kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
)
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="no kubectl")


class Terminal:
    """A shell of somebody who has the plug-in on PATH and no cluster."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        plugin = folder / "bin" / "kubectl-cortexops"
        plugin.parent.mkdir(exist_ok=True)
        plugin.write_text(f'#!/bin/sh\nexec {sys.executable} -m cortexops.cli.kubectl "$@"\n')
        plugin.chmod(0o755)
        self.environment = {
            "PATH": f"{plugin.parent}:/usr/bin:/bin", "HOME": str(self.home), "PYTHONPATH": str(ROOT),
            "KUBECONFIG": "/dev/null", "CORTEXOPS_URL": url, "CORTEXOPS_TOKEN": token,
        }  # fmt: skip

    async def run(self, *arguments: str, code: int = 0, typed: str = "", **changes: str) -> str:
        environment = {**self.environment, **changes}
        assert KUBECTL is not None
        process = await asyncio.create_subprocess_exec(
            KUBECTL, "cortexops", *arguments, env=environment, cwd=self.home, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate(typed.encode())
        text = out.decode() + err.decode()
        assert process.returncode == code, text
        assert "Traceback" not in text
        return text


@pytest.fixture
def world(store: PostgresStore) -> World:
    return World(store)


@pytest.fixture
async def url(world: World) -> AsyncIterator[str]:
    async with served(world) as address:
        yield address


async def test_a_person_lists_looks_and_approves(world: World, url: str, tmp_path: Path) -> None:
    incident = await open_case(world.store)
    approval = f"{incident.id}-approval-1"
    ana = Terminal(tmp_path, url, ANA_TOKEN)
    assert approval in await ana.run("approvals")
    assert incident.id in await ana.run("incidents")
    assert json.loads(await ana.run("approvals", "-o", "json"))[0]["digest"] == DIGEST
    shown = await ana.run("approve", approval, "--reason", "matches e4", typed="y\n")
    for part in ("512Mi", "1Gi", "3 replicas", "quorum_production", DIGEST, "approved (1/1 approvals)"):
        assert part in shown, part
    assert [(v.person.id, v.decision, v.reason, v.digest) for v in world.votes.counted] == [
        ("ana", Decision.APPROVE, "matches e4", DIGEST)
    ]


async def test_no_is_no(world: World, url: str, tmp_path: Path) -> None:
    incident = await open_case(world.store)
    await Terminal(tmp_path, url, ANA_TOKEN).run("approve", f"{incident.id}-approval-1", code=1, typed="n\n")
    assert world.votes.counted == []


@pytest.mark.parametrize(
    ("command", "decision"), [("deny", Decision.DENY), ("take-over", Decision.TAKE_OVER)]
)
async def test_deny_and_take_over_need_a_reason(
    world: World, url: str, tmp_path: Path, command: str, decision: Decision
) -> None:
    incident = await open_case(world.store)
    bo = Terminal(tmp_path, url, BO_TOKEN)
    await bo.run(command, f"{incident.id}-approval-1", "--yes", code=2)
    await bo.run(command, f"{incident.id}-approval-1", "--yes", "--reason", " ", code=2)
    assert world.votes.counted == []
    await bo.run(command, f"{incident.id}-approval-1", "--yes", "--reason", "the node is on fire")
    assert [(v.person.id, v.decision, v.reason) for v in world.votes.counted] == [
        ("bo", decision, "the node is on fire")
    ]


async def test_the_same_answer_again_is_told_and_is_no_failure(
    world: World, url: str, tmp_path: Path
) -> None:
    incident = await open_case(world.store, request={"quorum": 2})
    ana = Terminal(tmp_path, url, ANA_TOKEN)
    first = await ana.run("approve", f"{incident.id}-approval-1", "-y")
    again = await ana.run("approve", f"{incident.id}-approval-1", "-y")
    assert "already voted" not in first
    assert "pending (1/2 approvals), answered as ana, already voted" in again
    assert len(world.votes.counted) == 1


async def test_what_may_not_count_does_not_and_says_why(world: World, url: str, tmp_path: Path) -> None:
    incident = await open_case(world.store)
    approval = f"{incident.id}-approval-1"
    viewer = Terminal(tmp_path, url, VIEWER_TOKEN)
    assert "[wrong_role]" in await viewer.run("approve", approval, "-y", code=1)
    ana = Terminal(tmp_path, url, ANA_TOKEN)
    assert "[changed_diff]" in await ana.run("approve", approval, "-y", "--digest", "0" * 64, code=1)
    assert "Not Found" in await ana.run("approve", "INC-1/../../x", "-y", code=1)
    assert "There is no approval" in await ana.run("approve", "INC-1", "-y", code=1)
    world.clock.advance(minutes=20)
    assert "[expired]" in await ana.run("approve", approval, "-y", code=1)
    nobody = await ana.run("approve", approval, "-y", code=1, CORTEXOPS_TOKEN="of-nobody")
    assert "identity" in nobody
    assert "of-nobody" not in nobody
    assert world.votes.counted == []


async def test_a_token_goes_nowhere_readable(url: str, tmp_path: Path) -> None:
    ana = Terminal(tmp_path, url, ANA_TOKEN)
    for address, says in (
        ("http://console.example.org", "readable"), ("ftp://x", "no http(s) address"), ("nonsense", "no http(s)"),
    ):  # fmt: skip
        text = await ana.run("approvals", code=2, CORTEXOPS_URL=address)
        assert says in text
        assert ANA_TOKEN not in text
    assert "cannot be reached" in await ana.run("approvals", code=1, CORTEXOPS_URL="http://127.0.0.1:9")
    assert "CORTEXOPS_TOKEN is not set" in await ana.run("approvals", code=2, CORTEXOPS_TOKEN="")


async def test_address_and_token_from_a_file_that_only_its_owner_reads(
    world: World, url: str, tmp_path: Path
) -> None:
    ana = Terminal(tmp_path, url, ANA_TOKEN)
    file = ana.home / ".config" / "cortexops" / "client.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"url": url, "token": ANA_TOKEN}))
    file.chmod(0o644)
    ana.environment |= {"CORTEXOPS_URL": "", "CORTEXOPS_TOKEN": ""}
    assert "chmod 600" in await ana.run("approvals", code=2)
    file.chmod(0o600)
    assert "no approvals" in await ana.run("approvals")
    file.write_text("tokn: x")
    assert "nothing else" in await ana.run("approvals", code=2)


async def test_what_a_terminal_would_obey_is_written_out(world: World, url: str, tmp_path: Path) -> None:
    incident = await open_case(world.store, request={"action": "restart \x1b[2J\x1b]0;gone\x07 api"})
    ana = Terminal(tmp_path, url, ANA_TOKEN)
    shown = await ana.run("approve", f"{incident.id}-approval-1", code=1, typed="n\n")
    assert "\x1b" not in shown + await ana.run("approvals")


def test_installing_the_product_puts_the_plug_in_on_path() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["kubectl-cortexops"] == "cortexops.cli.kubectl:main"
