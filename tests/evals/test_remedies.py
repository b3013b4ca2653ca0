"""The rules for remedies catch what they are for, and kubectl itself understands what people are told to type."""

from __future__ import annotations

import asyncio
import copy
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.evals.api import Api
from tests.evals.lived_in import lived_in
from tests.evals.remedies import broken
from tests.evals.run import investigate, load
from tests.evals.shapes import JSON

KUBECTL = Path(sys.executable).with_name("kubectl")


async def told(name: str, **change: Any) -> tuple[JSON, list[str]]:
    """The first recommended action of an incident, and what is broken when it is changed so."""
    incident = load(name)
    report = copy.deepcopy(await investigate(incident))
    action = report["incidents"][0]["recommended_actions"][0]
    assert broken(incident, report) == []
    action.update(change)
    return action, broken(incident, report)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"commands": ["kubectl -n shop rollout undo deployment/<name>"]}, "a placeholder"),
        (
            {"commands": ["kubectl -n shop rollout undo deployment/wob --to-revision=1"]},
            "there is no Deployment",
        ),
        ({"commands": ["kubectl -n shop rollout undo deployment/web --revert"]}, "no options of rollout"),
        ({"commands": ["kubectl rollout undo deployment/web"]}, "without a namespace"),
        ({"commands": ["kubectl -n shop frobnicate deployment/web"]}, "no verb"),
        ({"commands": ["kubectl -n shop delete pod web --force"]}, "removes by force"),
        ({"commands": ["kubectl -n shop get gizmo web"]}, "the server has no gizmo"),
        ({"commands": []}, "has no command"),
        ({"effect": ""}, "does not say what it effects"),
        ({"effect": "contains"}, "escalate is False"),
        ({"params": {"to_revision": 7}}, "a revision that is not there"),
        (
            {"target": {"cluster": "eval", "kind": "Node", "namespace": "", "name": "worker-a"}},
            "touches an object other than the cause",
        ),
    ],
)
async def test_a_remedy_that_would_not_do_is_noticed(change: JSON, words: str) -> None:
    _, found = await told("crash-since-release", **change)
    assert any(words in each for each in found), found


async def test_what_contains_is_followed_by_what_people_do_and_calls_them() -> None:
    for name, steps in (
        ("java-heap-not-container-limit", ["restart_workload", "inspect"]),
        ("node-lost", ["cordon_node", "remove_node_from_service", "fence_node"]),
        ("memory-leak-steady", ["restart_workload", "adjust_resources", "inspect"]),
    ):
        (found,) = (await investigate(load(name)))["incidents"]
        actions = [action for action in found["recommended_actions"] if action["type"] != "rollback_rollout"]
        assert [action["type"] for action in actions][: len(steps)] == steps, name
        assert {action["effect"] for action in actions if action["feasible"]} == {"contains"}
        assert found["escalate"] and "does not mend its cause" in found["escalation_reason"]


async def test_a_held_migration_lock_is_left_to_people_and_not_rolled_back() -> None:
    (found,) = (await investigate(load("liquibase-changelog-lock")))["incidents"]
    assert not [action for action in found["recommended_actions"] if action["feasible"]]
    first = found["recommended_actions"][0]
    assert first["type"] == "inspect" and found["escalate"]
    assert any("Find out who holds the lock" in caveat for caveat in first["caveats"])
    assert not [c for action in found["recommended_actions"] for c in action["commands"] if "undo" in c]


@pytest.mark.parametrize(
    "name", ["crash-since-release", "oom-limit-too-low", "config-wrong-port", "secret-rotated-pods-hold-old"]
)
async def test_nothing_that_git_owns_is_changed_by_hand_or_by_action(name: str) -> None:
    incident = lived_in(load(name))
    report = await investigate(incident)
    assert broken(incident, report) == []


class Discovered(Api):
    """With the lists of resources that kubectl asks for before anything else."""

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        steps = [step for step in request.path.split("/") if step]
        if steps == ["api"]:
            return web.json_response({"kind": "APIVersions", "versions": ["v1"]})
        version = "v1" if steps == ["api", "v1"] else "/".join(steps[1:]) if steps[:1] == ["apis"] else ""
        served = [kind for kind in self._kinds() if kind[0] == version]
        if not served:
            return await super()._handle(request)
        verbs = ["get", "list", "create", "update", "patch", "delete"]
        resources = [
            {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": spaced, "verbs": verbs}
            | ({"shortNames": ["hpa"]} if kind == "HorizontalPodAutoscaler" else {})
            for _, kind, plural, spaced in served
        ]
        return web.json_response(
            {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
        )


@pytest.mark.skipif(not KUBECTL.exists(), reason="the kubectl that comes with the tests is not installed")
@pytest.mark.parametrize(
    "name",
    [
        "crash-since-release", "oom-limit-too-low", "hpa-maxed", "cronjob-suspended", "node-lost", "job-deadline",
        "network-plugin-single-node", "statefulset-ordinal-order-blocks", "rbac-denied", "scaled-to-zero-by-person",
        "volume-multi-attach", "rollout-paused", "taint-evicts-everything", "cron-job-runs-out-of-memory",
        "postgres-disk-full-told-by-caller", "config-wrong-port", "registry-answers-503",
    ],
)  # fmt: skip
async def test_kubectl_understands_each_command_and_finds_its_object(name: str, tmp_path: Path) -> None:
    """The server takes no changes: 405 says that kubectl understood, found the object, and sent the change."""
    incident = load(name)
    report = await investigate(incident)
    commands = {c: None for a in report["incidents"][0]["recommended_actions"] for c in a["commands"]}
    async with Discovered(incident.objects, incident.logs, **incident.server) as api:
        config = api.kubeconfig(tmp_path / "config")
        for command in commands:
            words = shlex.split(command)
            if words[0] != "kubectl" or words[3:4] == ["edit"] or "|" in words:
                continue
            process = await asyncio.create_subprocess_exec(
                str(KUBECTL), *words[1:], cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                env={"KUBECONFIG": config, "HOME": str(tmp_path)},
            )  # fmt: skip
            _, said = await asyncio.wait_for(process.communicate(), 20)
            assert process.returncode == 0 or b"does not allow this method" in said, (command, said.decode())
