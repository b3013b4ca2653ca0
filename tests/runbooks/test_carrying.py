"""A runbook carried out in one incident: statuses, outputs, evidence, candidates."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from activities.actions import propose
from cortexops.domain.diagnosis import Category, Verdict
from cortexops.domain.errors import Forbidden, NotFound, TemporaryError
from cortexops.domain.evidence import Gap, GapReason
from cortexops.domain.ledger import LedgerRow, LedgerState
from cortexops.domain.postmortem import write_postmortem
from cortexops.domain.report import Result, investigation_report, render_markdown, render_slack, render_text
from cortexops.domain.resource import JSON
from cortexops.domain.runbook import Runbook
from cortexops.domain.runbook_outcome import with_outcomes
from cortexops.domain.runbook_run import RunbookRun, StepReason, StepStatus
from cortexops.domain.scene import Scene
from cortexops.ports.cluster import ObjectList
from tests.investigation.objects import (
    NOW,
    ago,
    container,
    crash_loop,
    deployment,
    diagnose,
    event,
    node,
    pod,
    ref,
    replica_set,
    running,
    scene,
    template,
    terminated,
)
from tests.runbooks.support import action, check, made, note, reads, replicas, runbooks, signal
from tests.support.case import a_ledger_row, an_incident

API = ref("Deployment", "api")


def crashing(*more: JSON, labels: dict[str, Any] | None = None, **scene_more: Any) -> Scene:
    """A Deployment whose newest release crashes; the one before it works."""
    live = deployment(
        pod_template=template("api", container(image="registry.example.com/shop/api:1.5.0")), ready=1
    )
    old = replica_set(live, 3, template("api", container()), ago(days=3), 1)
    new = replica_set(live, 4, live["spec"]["template"], ago(hours=1), 1)
    bad = pod(new, crash_loop(terminated(1)), created=ago(hours=1))
    made_scene = scene(API, live, old, new, bad, pod(old, running(), suffix="good1"), *more, **scene_more)
    return made_scene.model_copy(
        update={"signals": (signal(at=NOW - timedelta(minutes=5), **(labels or {})),)}
    )


async def carry(runbook: Runbook, on: Scene | None = None, reading: Any = None, **more: Any) -> Any:
    where = on or crashing()
    diagnosis = diagnose(where)
    own = propose(where, diagnosis)
    fed, candidates = await runbooks(runbook, **more).consult(reading or reads(), where, diagnosis, own)
    return fed, candidates, diagnosis, own


def usable(name: str, ready: str = "True") -> JSON:
    found = node(name, ready=ready)
    return found | {"metadata": found["metadata"] | {"uid": f"uid-{name}"}}


def step(diagnosis: Any, id: str) -> Any:
    assert diagnosis.runbook is not None
    return next(one for one in diagnosis.runbook.steps if one.id == id)


class Live:
    """A cluster that answers with these objects, or raises."""

    name = "prod-eu"
    requests = 0

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def _next(self) -> Any:
        self.requests += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def get(self, kind: str, namespace: str, name: str) -> Any:
        return await self._next()

    async def list(self, kind: str, namespace: str = "", **more: Any) -> Any:
        return await self._next()


class Prometheus:
    name = "prometheus"

    def __init__(self, *values: float) -> None:
        self.values = list(values)
        self.asked: list[dict[str, str]] = []

    async def get(self, path: str, query: dict[str, str]) -> JSON:
        self.asked.append(query)
        result = [{"metric": {}, "value": [1, str(value)]} for value in self.values]
        return {"status": "success", "data": {"resultType": "vector", "result": result}}


async def test_checks_become_evidence_with_outputs_that_later_steps_use() -> None:
    fed, *_ = await carry(
        made(
            check("want", object=replicas("/spec/replicas"), output="want"),
            check("ready", expect={"at_least": "{{ want }}"}, output="ready"),
            note(text="{{ ready }} of {{ want }} work."),
        )
    )
    assert [s.status for s in fed.runbook.steps] == [
        StepStatus.COMPLETED,
        StepStatus.FAILED,
        StepStatus.COMPLETED,
    ]
    assert step(fed, "look").detail == "1 of 2 work." and step(fed, "ready").outputs == {"ready": 1}
    cited = {fact.id: fact for fact in fed.evidence}
    assert "expected at least 2" in cited[step(fed, "ready").evidence].summary
    assert len(cited) == len(fed.evidence)


async def test_a_step_whose_preflight_is_not_met_is_skipped_with_the_reason() -> None:
    fed, *_ = await carry(made(check(preflight={"kind": {"equals": "Node"}})))
    assert (step(fed, "ready").status, step(fed, "ready").reason) == (
        StepStatus.SKIPPED,
        StepReason.PREFLIGHT,
    )
    assert step(fed, "ready").detail == "kind is Deployment, expected Node"


async def test_a_failed_step_stops_the_rest_only_when_it_says_so() -> None:
    bad = check("bad", expect={"at_least": 5})
    fed, *_ = await carry(made(bad, note()))
    assert step(fed, "look").status is StepStatus.COMPLETED
    fed, candidates, _, own = await carry(made(bad | {"on_failure": "stop"}, action(), note()))
    assert {step(fed, id).reason for id in ("act", "look")} == {StepReason.STOPPED}
    assert candidates == own


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Forbidden("no", verb="get", resource="jobs"), StepReason.FORBIDDEN),
        (NotFound("gone"), StepReason.NOT_FOUND),
        (TemporaryError("away"), StepReason.UNREACHABLE),
    ],
)
async def test_what_could_not_be_read_is_failed_and_never_passed(
    error: Exception, reason: StepReason
) -> None:
    asked = check(object={"kind": "Job", "name": "other", "field": "/status/failed"}, expect={"at_most": 0})
    fed, *_ = await carry(made(asked), reading=reads(Live(error)))
    assert (step(fed, "ready").status, step(fed, "ready").reason) == (StepStatus.FAILED, reason)


async def test_an_object_that_should_be_absent_is_absent() -> None:
    asked = check(object={"kind": "Job", "name": "other"}, expect={"exists": False})
    fed, *_ = await carry(made(asked), reading=reads(Live(NotFound("gone"))))
    assert step(fed, "ready").status is StepStatus.COMPLETED


@pytest.mark.parametrize(
    ("asked", "gap"),
    [
        ({"events": {"reasons": ["Unhealthy"]}}, "list events in namespace shop"),
        ({"count": {"kind": "Pod", "of_target": True}}, "list pods in namespace shop"),
        ({"logs": {"contains": "oom"}}, "get pods/log in namespace shop"),
        ({"events": {"reasons": ["Unhealthy"]}}, "collect events"),
    ],
)
async def test_nothing_seen_because_nothing_could_be_seen_is_not_nothing(asked: JSON, gap: str) -> None:
    unseen = Gap(reason=GapReason.FORBIDDEN, what=gap, detail="no")
    where = crashing().model_copy(update={"gaps": (unseen,)})
    fed, *_ = await carry(made(check(**asked, expect={"at_most": 0})), where)
    assert (step(fed, "ready").status, step(fed, "ready").reason) == (StepStatus.FAILED, StepReason.FORBIDDEN)
    assert step(fed, "ready").evidence == ""


async def test_objects_events_and_log_lines_are_counted() -> None:
    where = crashing(events=(event(deployment(), "BackOff", "back-off", count=4),))
    fed, *_ = await carry(
        made(
            check(
                "restarting",
                count={
                    "kind": "Pod",
                    "of_target": True,
                    "where": {"/status/containerStatuses/0/restartCount": {"at_least": 3}},
                },
                expect={"at_most": 0},
                output="many",
                outputs={"worst": "/metadata/name"},
            ),
            check("probes", events={"reasons": ["Unhealthy"]}, expect={"at_most": 0}),
            check("backoff", events={"reasons": ["BackOff"]}, output="times"),
        ),
        where,
    )
    assert step(fed, "restarting").outputs["many"] == 1 and "x7k2p" in str(
        step(fed, "restarting").outputs["worst"]
    )
    assert step(fed, "probes").status is StepStatus.COMPLETED
    assert step(fed, "backoff").outputs == {"times": 4}


async def test_more_objects_than_one_page_are_not_counted_short() -> None:
    asked = check(count={"kind": "Job"}, expect={"at_most": 0})
    fed, *_ = await carry(made(asked), reading=reads(Live(ObjectList([], "1", cut=True))))
    assert (step(fed, "ready").status, step(fed, "ready").reason) == (StepStatus.FAILED, StepReason.NO_DATA)


async def test_a_metric_is_asked_at_the_time_of_the_alert_with_quoted_values() -> None:
    query = 'sum(queue{ns="{{ namespace }}",team="{{ labels.team }}"})'
    server = Prometheus(3.0, 7.5)
    fed, *_ = await carry(
        made(check(metric={"query": query}, expect={"less_than": 5}, output="depth")),
        crashing(labels={"team": 'x"} or vector(0) or queue{team="'}),
        reads(prometheus=server),
    )
    assert server.asked == [
        {
            "query": 'sum(queue{ns="shop",team="x\\"} or vector(0) or queue{team=\\""})',
            "time": (NOW - timedelta(minutes=5)).isoformat(),
        }
    ]
    assert step(fed, "ready").status is StepStatus.FAILED and step(fed, "ready").outputs == {"depth": 7.5}


async def test_without_prometheus_a_metric_is_skipped_and_without_series_it_fails() -> None:
    asked = made(check(metric={"query": "up"}, expect={"equals": 1}))
    fed, *_ = await carry(asked)
    assert step(fed, "ready").reason is StepReason.NOT_CONFIGURED
    fed, *_ = await carry(asked, reading=reads(prometheus=Prometheus()))
    assert (step(fed, "ready").status, step(fed, "ready").reason) == (StepStatus.FAILED, StepReason.NO_DATA)


@pytest.mark.parametrize("name", ["../../../secrets/admin", "a b", "x\ny", "{{ cluster }}"])
async def test_a_label_that_is_no_name_is_never_asked_for(name: str) -> None:
    asked = check(object={"kind": "ConfigMap", "name": "{{ labels.config }}", "field": "/data/x"})
    fed, *_ = await carry(made(asked), crashing(labels={"config": name}))
    assert step(fed, "ready").reason is StepReason.VALUE_MISSING


async def test_a_label_cannot_name_a_kind_that_no_runbook_reads() -> None:
    asked = check(object={"kind": "{{ labels.of }}", "name": "api", "field": "/data/password"})
    fed, *_ = await carry(made(asked), crashing(labels={"of": "Secret"}))
    assert (step(fed, "ready").status, step(fed, "ready").reason) == (
        StepStatus.SKIPPED,
        StepReason.NOT_ALLOWED,
    )


async def test_secrets_in_fields_are_masked_in_outputs_and_evidence() -> None:
    env = {
        "kind": "ConfigMap",
        "metadata": {"name": "env", "namespace": "shop"},
        "data": {"DB_PASSWORD": "hunter22"},
    }
    asked = check(object={"kind": "ConfigMap", "name": "env", "field": "/data/DB_PASSWORD"}, output="word")
    fed, *_ = await carry(made(asked, note(text="{{ word }}")), reading=reads(Live(env)))
    assert "hunter22" not in fed.model_dump_json() and "redacted" in step(fed, "look").detail


async def test_a_wait_ends_when_it_is_so_and_when_the_time_is_over() -> None:
    job: JSON = {"kind": "Job", "metadata": {"name": "j", "namespace": "shop"}, "status": {"active": 1}}
    ended: JSON = job | {"status": {"succeeded": 1}}
    wait = check(object={"kind": "Job", "name": "j", "field": "/status/succeeded"}, expect={"equals": 1})
    waiting = made({**wait, "kind": "wait-for", "seconds": 4})
    fed, *_ = await carry(waiting, reading=reads(Live(job, ended)))
    assert step(fed, "ready").status is StepStatus.COMPLETED and step(fed, "ready").seconds >= 1
    short = made({**wait, "kind": "wait-for", "seconds": 1})
    fed, *_ = await carry(short, reading=reads(Live(job, TemporaryError("away"))))
    assert (step(fed, "ready").status, step(fed, "ready").reason) == (
        StepStatus.FAILED,
        StepReason.NOT_AS_EXPECTED,
    )


async def test_the_budget_ends_a_runbook_and_says_so() -> None:
    class Slow(Live):
        async def get(self, kind: str, namespace: str, name: str) -> Any:
            await asyncio.sleep(30)

    asked = check(object={"kind": "Job", "name": "j", "field": "/status/failed"})
    shared = reads(Slow({}))
    fed, *_ = await carry(made(asked, note()), reading=shared, budget_seconds=0.2)
    await shared.close()
    assert [s.reason for s in fed.runbook.steps] == [StepReason.OUT_OF_TIME] * 2
    assert [s.status for s in fed.runbook.steps] == [StepStatus.FAILED, StepStatus.SKIPPED]


# -- the diagnosis -------------------------------------------------------------------------------------


def claim(**more: Any) -> JSON:
    return {"category": "dependency_down", "kind": "Deployment", "name": "queue"} | more


async def test_a_runbooks_word_alone_stays_a_hypothesis() -> None:
    said = check(expect={"at_most": 5}, supports=claim())
    fed, _, before, _ = await carry(made(said))
    (new,) = [h for h in fed.hypotheses if h.resource.name == "queue"]
    assert (
        new.confidence <= 0.6
        and not new.support.deterministic
        and new.evidence == (step(fed, "ready").evidence,)
    )
    assert fed.hypotheses[0].category == before.hypotheses[0].category and fed.verdict is before.verdict


async def test_a_cause_that_analyzers_found_is_cited_and_keeps_its_support() -> None:
    before = diagnose(crashing())
    lead = before.hypotheses[0]
    same = claim(category=lead.category.value, kind=lead.resource.kind, name=lead.resource.name)
    fed, *_ = await carry(made(check(expect={"at_most": 5}, supports=same)))
    assert fed.hypotheses[0].confidence == lead.confidence
    assert fed.hypotheses[0].evidence == (*lead.evidence, step(fed, "ready").evidence)
    fed, *_ = await carry(made(check(expect={"at_most": 5}, counters=same)))
    weaker = next(h for h in fed.hypotheses if (h.category, h.resource) == (lead.category, lead.resource))
    assert weaker.confidence == pytest.approx(lead.confidence - 0.15)


async def test_a_claim_for_the_other_outcome_says_nothing() -> None:
    fed, _, before, _ = await carry(made(check(expect={"at_most": 5}, supports=claim(when="failed"))))
    assert fed.hypotheses == before.hypotheses


async def test_a_healthy_object_gets_no_runbook() -> None:
    live = deployment()
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=2), 2)
    well = scene(API, live, rs, pod(rs, running()), pod(rs, running(), suffix="b2222"))
    well = well.model_copy(update={"signals": (signal(),)})
    fed, candidates, before, own = await carry(
        made(action(), check(expect={"at_most": 0}, supports=claim())), well
    )
    assert before.verdict is Verdict.HEALTHY and fed == before and candidates == own


# -- what is shown -------------------------------------------------------------------------------------


def row(action_of: Any, state: LedgerState, attempt: int = 1) -> LedgerRow:
    return a_ledger_row("INC-1").model_copy(update={"action": action_of, "state": state, "attempt": attempt})


@pytest.mark.parametrize(
    ("state", "ended", "status", "reason"),
    [
        (None, False, StepStatus.PENDING, StepReason.OFFERED),
        (None, True, StepStatus.SKIPPED, StepReason.NOT_TAKEN),
        (LedgerState.INTENT, False, StepStatus.PENDING, StepReason.UNDER_WAY),
        (LedgerState.APPLIED, False, StepStatus.PENDING, StepReason.UNDER_WAY),
        (LedgerState.APPLIED, True, StepStatus.FAILED, StepReason.EFFECT_UNKNOWN),
        (LedgerState.VERIFIED, True, StepStatus.COMPLETED, StepReason.VERIFIED),
        (LedgerState.COMPENSATED, True, StepStatus.FAILED, StepReason.UNDONE),
        (LedgerState.REFUSED, True, StepStatus.FAILED, StepReason.REFUSED),
        (LedgerState.UNKNOWN, True, StepStatus.FAILED, StepReason.EFFECT_UNKNOWN),
    ],
)
async def test_an_actions_step_ends_as_the_ledger_says(state, ended, status, reason) -> None:
    fed, candidates, _, own = await carry(made(action()))
    (new,) = [c for c in candidates if c not in own]
    rows = [row(new.action, state)] if state else [row(own[0].action, LedgerState.VERIFIED)]
    told = with_outcomes(fed.runbook, rows, ended=ended)
    assert (told.steps[0].status, told.steps[0].reason) == (status, reason)


async def test_reports_in_all_forms_and_the_postmortem_tell_the_runbook() -> None:
    where = crashing(labels={"runbook_url": "https://wiki.example.com/<b>*x*"})
    fed, candidates, *_ = await carry(
        made(check(expect={"at_most": 0}), action(), note(text="<b>`x`*y*")), where
    )
    report = investigation_report(
        [Result(API, where.signals, fed, tuple(candidates))], duration_seconds=0, api_requests=0
    )
    told = report["incidents"][0]["runbook"]
    assert (told["id"], told["version"], [s["status"] for s in told["steps"]]) == (
        "mine", "1", ["FAILED", "PENDING", "COMPLETED"],
    )  # fmt: skip
    assert "Runbook mine 1: Mine" in render_text(report)
    assert "<b>" not in render_markdown(report).split("**Runbook")[1].split("**rollback")[0]
    assert "<b>" not in str(render_slack(report)) and "Runbook mine" in str(render_slack(report))
    postmortem = write_postmortem(an_incident(), fed, [], [row(candidates[0].action, LedgerState.VERIFIED)])
    assert postmortem.runbook.startswith("Runbook mine 1 (Mine): 1 COMPLETED, 1 FAILED, 1 SKIPPED")
    plain = investigation_report([Result(API, (), diagnose(where))], duration_seconds=0, api_requests=0)
    assert "runbook" not in plain["incidents"][0]


async def test_a_link_alone_is_told_without_steps() -> None:
    only = RunbookRun(id="", version="", title="", origin="", link="https://wiki/x")
    fed = diagnose(crashing()).model_copy(update={"runbook": only})
    report = investigation_report([Result(API, (), fed)], duration_seconds=0, api_requests=0)
    assert "Runbook: https://wiki/x" in render_text(report)


async def test_categories_match_what_the_analysis_found() -> None:
    found = diagnose(crashing()).cause
    assert found is not None
    fed, *_ = await carry(made(note(), match={"categories": [found.category.value]}))
    assert fed.runbook.id == "mine"
    fed, *_ = await carry(made(note(), match={"categories": [Category.VOLUME_FULL.value]}))
    assert fed.runbook is None
