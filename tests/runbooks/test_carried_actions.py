"""What a runbook may propose: only what the catalogue and its bounds allow, and nothing that was fetched."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.actions import ACTIONS, ReadsLists, propose
from cortexops.domain.action import Infeasible
from cortexops.domain.errors import NotFound
from cortexops.domain.resource import JSON
from cortexops.domain.runbook import Origin, Runbook
from cortexops.domain.runbook_run import StepReason, StepStatus
from cortexops.domain.scene import Scene
from cortexops.ports.runbooks import Fetched
from tests.investigation.objects import (
    NOW,
    deployment,
    diagnose,
)
from tests.runbooks.support import action, check, made, note, reads, runbooks
from tests.runbooks.test_carrying import Live, carry, claim, crashing, step, usable


async def test_an_action_is_offered_with_the_name_of_runbook_and_step() -> None:
    fed, candidates, _, own = await carry(made(action()))
    (new,) = [c for c in candidates if c not in own]
    assert new.feasible and new.why == "runbook mine 1, step act" and new.action.type == "restart_workload"
    assert step(fed, "act").status is StepStatus.PENDING and step(fed, "act").action == new.action.hash
    assert candidates[0] == own[0]  # what was made for this very cause comes first


async def test_an_action_that_is_proposed_already_is_not_offered_twice() -> None:
    fed, candidates, _, own = await carry(made(action(name="rollback_rollout")))
    assert [c.action for c in candidates] == [c.action for c in own]
    assert "runbook mine 1, step act" in candidates[0].why and step(fed, "act").status is StepStatus.PENDING


@pytest.mark.parametrize(
    ("name", "more", "why"),
    [
        ("scale_workload", {"params": {"replicas": 500}}, "not between"),
        ("scale_workload", {"params": {"replicas": "{{ labels.many }}"}}, "whole number"),
        (
            "adjust_resources",
            {"params": {"container": "api", "memory_limit": "64Gi", "memory_request": "1Gi"}},
            "times",
        ),
        ("adjust_resources", {"params": {"container": "api"}}, "memory_limit"),
        ("rollback_rollout", {"params": {"to_revision": 99, "replica_set": "api-other"}}, "is gone"),
    ],
)
async def test_what_is_beyond_an_actions_bounds_is_not_offered(name: str, more: JSON, why: str) -> None:
    where = crashing(labels={"many": "lots"})
    fed, candidates, *_ = await carry(
        made(action(name=name, **more)), where, reads(Live(NotFound("not found")))
    )
    assert step(fed, "act").status is StepStatus.SKIPPED and why in step(fed, "act").detail
    assert not [c for c in candidates if c.feasible and "runbook" in c.why]


async def test_an_object_that_git_owns_or_that_is_gone_is_refused() -> None:
    live = deployment(name="web")
    live["metadata"]["labels"] = {"argocd.argoproj.io/instance": "web"}
    asked = action(target={"kind": "Deployment", "name": "web"})
    _, candidates, *_ = await carry(made(asked), crashing(live))
    assert [c.infeasible for c in candidates if c.action.target.name == "web"] == [Infeasible.OWNED_BY_GITOPS]
    _, candidates, *_ = await carry(made(asked), reading=reads(Live(NotFound("x"))))
    assert [c.infeasible for c in candidates if c.action.target.name == "web"] == [Infeasible.OBJECT_GONE]


async def test_the_last_usable_node_is_not_cordoned() -> None:
    asked = action(name="cordon_node", target={"kind": "Node", "name": "node-1"})
    fed, *_ = await carry(made(asked), crashing(usable("node-1"), usable("node-2", "False")))
    assert "no other node" in step(fed, "act").detail
    fed, *_ = await carry(made(asked), crashing(usable("node-1"), usable("node-2")))
    assert step(fed, "act").status is StepStatus.PENDING


class At:
    """A source that has this runbook at its address."""

    def __init__(
        self, runbook: Runbook | None, hosts: tuple[str, ...] = (), address: str = "http://wiki/x"
    ) -> None:
        self._runbook, self._hosts, self._address = runbook, hosts, address
        self.fetched: list[str] = []

    def address(self, values: dict[str, str]) -> str:
        return self._address

    def may_fetch(self, address: str) -> bool:
        return any(address.startswith(f"https://{host}/") for host in self._hosts)

    async def fetch(self, address: str) -> Fetched:
        self.fetched.append(address)
        return Fetched(self._runbook)


async def consult(source: At, where: Scene | None = None, **more: Any) -> Any:
    where = where or crashing()
    diagnosis = diagnose(where)
    own = propose(where, diagnosis)
    return (*await runbooks(source=source, **more).consult(reads(), where, diagnosis, own), diagnosis, own)


async def test_a_fetched_runbook_neither_acts_nor_accuses() -> None:
    lead = diagnose(crashing()).hypotheses[0]
    against = claim(category=lead.category.value, kind=lead.resource.kind, name=lead.resource.name)
    evil = made(
        *(check(f"c{n}", expect={"at_most": 5 + n}, counters=against, supports=claim()) for n in range(10)),
        action(name="scale_workload", params={"replicas": 1}),
        action("again"),
        origin=Origin.URL,
    )
    fed, candidates, before, own = await consult(At(evil))
    assert fed.hypotheses == before.hypotheses and candidates == own
    assert {step(fed, id).reason for id in ("act", "again")} == {StepReason.NOT_ALLOWED}
    fed, candidates, _, _ = await consult(At(evil), fetched_actions=("restart_workload",))
    assert (
        step(fed, "again").status is StepStatus.PENDING and step(fed, "act").reason is StepReason.NOT_ALLOWED
    )


async def test_the_address_in_an_alert_is_shown_and_fetched_only_from_a_named_host() -> None:
    where = crashing(labels={"runbook_url": "https://wiki.example.com/x.yaml"})
    source = At(made(note(), origin=Origin.URL), address="")
    fed, *_ = await consult(source, where)
    assert (
        source.fetched == [] and fed.runbook.link == "https://wiki.example.com/x.yaml" and not fed.runbook.id
    )
    source = At(made(note(), origin=Origin.URL), ("wiki.example.com",), address="")
    fed, *_ = await consult(source, where)
    assert source.fetched == ["https://wiki.example.com/x.yaml"] and fed.runbook.id == "mine"


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "data:text/html,x", "https://x y", "ftp://x", "https://x\n"]
)
async def test_an_address_that_no_browser_should_open_is_not_shown(link: str) -> None:
    fed, *_ = await consult(At(None, address=""), crashing(labels={"runbook_url": link}))
    assert fed.runbook is None


names = st.sampled_from([*ACTIONS.kinds])
values = st.one_of(
    st.integers(-5, 1000), st.sampled_from(["api", "64Gi", "512Mi", "3", "", "{{ labels.x }}", "-1"])
)
targets = st.sampled_from(
    [("Deployment", "api"), ("Node", "node-1"), ("Pod", "{{ pod }}"), ("StatefulSet", "api")]
)


@given(names, st.lists(values, min_size=4, max_size=4), targets, st.text(max_size=20))
def test_a_runbook_never_yields_an_action_outside_the_catalogue_or_its_bounds(
    name: str, given_values: list[Any], target: tuple[str, str], label: str
) -> None:
    spec = ACTIONS[name].spec
    if "{{" not in target[0] and target[0] not in spec.kinds:
        return
    params = dict(zip(spec.params, given_values, strict=False))
    runbook = made(action(name=name, target={"kind": target[0], "name": target[1]}, params=params))
    where = crashing(usable("node-1"), usable("node-2"), labels={"x": label})
    reading = reads(Live(NotFound("gone")))

    async def work() -> Any:
        done = await carry(runbook, where, reading)
        await reading.close()
        return done

    _, candidates, _, own = asyncio.run(work())
    for candidate in candidates:
        chosen = candidate.action
        assert chosen.type in ACTIONS and chosen.target.kind in ACTIONS[chosen.type].spec.kinds
        assert set(chosen.params) <= set(ACTIONS[chosen.type].spec.params)
        if candidate.feasible and candidate not in own and chosen not in [c.action for c in own]:
            plugin = ACTIONS[chosen.type]
            live = where.get(chosen.target)
            assert live is not None
            known = {r.key: obj for r in plugin.reads(chosen) if (obj := where.get(r)) is not None}
            for listing in plugin.lists(chosen) if isinstance(plugin, ReadsLists) else ():
                known |= {r.key: obj for r, obj in where.of_kind(listing.kind)}
            plugin.prepare(live, chosen, known, NOW)  # raises where it is out of bounds
