"""Ranking, verdicts, and that nothing in here raises on what an API server leaves out."""

from __future__ import annotations

import copy
import random
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from activities.analyzers import analyze
from activities.gathering import slim
from cortexops.domain.conclusion import conclude, onset_of
from cortexops.domain.diagnosis import Category, Hypothesis, Support, Verdict, rank, verdict_of
from cortexops.domain.evidence import EvidenceBook, EvidenceKind
from cortexops.domain.kubernetes import complaints, hosts
from cortexops.domain.report import Result, group, investigation_report, render_markdown, render_text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene
from cortexops.domain.signal import Severity, SignalType
from tests.investigation.objects import (
    NOW,
    ago,
    config_map,
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
    service,
    signal,
    template,
    terminated,
    told,
    waiting,
)

API = ref("Deployment", "api")


def guess(category: Category, direct: float, **more) -> Hypothesis:
    return Hypothesis(
        resource=API, category=category, summary=category, support=Support(direct=direct), **more
    )


def test_a_symptom_stands_below_what_explains_it():
    crash = guess(Category.CRASH, 0.9)
    config = guess(Category.CONFIGMAP_CHANGED, 0.85, explains=(Category.CRASH,))
    assert [h.category for h in rank([crash, config])] == [Category.CONFIGMAP_CHANGED, Category.CRASH]


def test_a_weak_explanation_does_not_outrank_a_sure_fact():
    oom = guess(Category.OOM_LIMIT_TOO_LOW, 1.0)
    weak = guess(Category.NODE_PRESSURE, 0.4, explains=(Category.OOM_LIMIT_TOO_LOW,))
    assert rank([oom, weak])[0].category is Category.OOM_LIMIT_TOO_LOW


def test_a_change_after_the_onset_costs_more_than_one_before_it_gains():
    before = guess(Category.BAD_ROLLOUT, 0.8).model_copy(
        update={"support": Support(direct=0.8, precedes_onset=True)}
    )
    after = guess(Category.BAD_ROLLOUT, 0.8).model_copy(
        update={"support": Support(direct=0.8, precedes_onset=False)}
    )
    assert [h.confidence for h in rank([before, after])] == [0.8, 0.37]


def test_without_deterministic_support_it_stays_a_hypothesis():
    soft = Hypothesis(
        resource=API, category=Category.CRASH, summary="x", support=Support(direct=1, deterministic=False)
    )
    assert verdict_of(rank([soft]), healthy=False) is Verdict.HYPOTHESIS
    assert rank([soft])[0].confidence == 0.6


def test_counter_evidence_lowers_confidence():
    assert rank([guess(Category.CRASH, 1.0, against=("e1", "e2"))])[0].confidence == 0.6


def test_evidence_never_holds_a_secret():
    book = EvidenceBook()
    id = book.cite(EvidenceKind.LOG, API, "db", excerpt="DB_PASSWORD=hunter2hunter2")
    assert "hunter2" not in book.entries[0].excerpt and id == "e1"


def test_a_secrets_values_are_dropped_on_arrival():
    raw = {
        "metadata": {
            "name": "s",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "c2VjcmV0"},
        },
        "data": {"PASSWORD": "c2VjcmV0"},
        "stringData": {"PASSWORD": "secret"},
    }
    assert "c2VjcmV0" not in str(slim("Secret", raw)) and "PASSWORD" in slim("Secret", raw)["data"]


def test_hosts_of_log_lines_and_values():
    line = 'ERROR Post "https://api.pay.example.com/v1": lookup api.pay.example.com on 10.96.0.10:53: no such host'
    assert hosts.hosts_in_line(line)[0] == "api.pay.example.com"
    assert hosts.hosts_in_value("DATABASE_URL", "postgres://u:p@db.data.svc.cluster.local:5432/x") == [
        "db.data.svc.cluster.local"
    ]
    assert hosts.service_address("db.data.svc.cluster.local", "shop") == ("data", "db")
    assert hosts.hosts_in_value("LOG_LEVEL", "info") == []
    assert not hosts.hosts_in_line("panic at main.go:42 in worker.py:17")


def test_information_is_no_complaint():
    assert complaints.complaining(
        ["INFO no error found", "ERROR failed to bind", "level=info retry failed"]
    ) == ["ERROR failed to bind"]


def rich() -> Scene:
    """A scene in which almost every analyzer has something to say."""
    env: JSON = {
        "envFrom": [{"configMapRef": {"name": "api-env"}}],
        "readinessProbe": {"httpGet": {"path": "/r", "port": "http"}},
    }
    body = template("api", container(image="x/api:2", env=[{"name": "DB_HOST", "value": "postgres"}], **env))
    live = deployment(pod_template=body, ready=0)
    live["status"]["conditions"] = [
        {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"},
        {
            "type": "ReplicaFailure",
            "status": "True",
            "reason": "FailedCreate",
            "message": "exceeded quota: compute, x",
        },
    ]
    older = replica_set(live, 11, template("api", container(image="x/api:1")), ago(days=9))
    newer = replica_set(live, 12, body, ago(minutes=30), 2)
    killed = pod(newer, crash_loop(terminated(137, "OOMKilled")), suffix="a0001")
    crashed = pod(newer, crash_loop(terminated(1)), suffix="a0002")
    pulling = pod(newer, waiting("ImagePullBackOff", "x"), suffix="a0003", phase="Pending")
    missing = pod(newer, waiting("CreateContainerConfigError", 'secret "s" not found'), suffix="a0004")
    unready = pod(newer, running(ready=False), suffix="a0005")
    gone = pod(newer, running(), suffix="a0006", ready=False)
    gone["metadata"]["deletionTimestamp"] = ago(hours=1)
    db = deployment("postgres", template("postgres"), replicas=0, ready=0)
    cm = config_map("api-env", {"POOL_SIZE": "ten"}, changed={"POOL_SIZE": ago(hours=1)})
    events = (
        event(unready, "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404"),
        event(killed, "BackOff", "Back-off restarting failed container"),
    )
    logs = (
        (crashed, "api", True, ["FATAL bad POOL_SIZE ten", "ERROR postgres:5432: connection refused"]),
        (unready, "api", False, ["ERROR https://api.example.com: i/o timeout"]),
    )
    objects = (live, older, newer, killed, crashed, pulling, missing, unready, gone, db, cm)
    return scene(
        API, *objects, service("postgres"), service("api"), node(ready="Unknown"), events=events, logs=logs
    )


RICH = rich()


ODD = [None, "", 0, [], {}, "x", True, [None], {"x": None}]


def prune(value, chance: random.Random, depth: int = 0):
    """The value with fields dropped, emptied or of another type."""
    if depth > 1 and chance.random() < 0.05:
        return copy.deepcopy(chance.choice(ODD))
    if isinstance(value, dict):
        return {
            key: prune(inner, chance, depth + 1)
            for key, inner in value.items()
            if depth < 2 or chance.random() > 0.07
        }
    if isinstance(value, list):
        return [prune(inner, chance, depth + 1) for inner in value]
    return value


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32))
def test_analyzers_never_raise_on_pruned_objects(seed):
    chance = random.Random(seed)
    objects = {key: prune(obj, chance) for key, obj in RICH.objects.items()}
    made = RICH.model_copy(update={"objects": objects})
    made = made.model_copy(update={"onset": onset_of(made)})
    book = EvidenceBook()
    diagnosis = conclude(made, analyze(made, book), book.entries)
    render_text(investigation_report([Result(API, (), diagnosis)], duration_seconds=0, api_requests=0))


def test_the_rich_scene_has_something_for_many_analyzers():
    book = EvidenceBook()
    assert len({h.category for h in analyze(RICH, book)}) >= 8


def test_results_with_one_root_cause_are_one_incident():
    rs = {
        "kind": "ReplicaSet",
        "metadata": {"name": "api-1", "namespace": "shop"},
        "spec": {"template": template("api")},
    }
    results = []
    for name in ("api", "web"):
        live = deployment(name, template(name), ready=0)
        rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
        target = ref("Deployment", name)
        made = scene(target, live, rs, pod(rs, running(ready=False)), node(ready="Unknown"))
        results.append(Result(target, made.signals, diagnose(made)))
    assert len(group(results)) == 1
    report = investigation_report(results, duration_seconds=1, api_requests=9)
    (incident,) = report["incidents"]
    assert incident["root_cause"]["resource"]["name"] == "node-1" and len(incident["signals"]) == 2


def test_the_report_has_the_documented_fields_and_cites_only_what_it_holds():
    diagnosis = diagnose(RICH)
    report = investigation_report(
        [Result(API, RICH.signals, diagnosis)], duration_seconds=0.81, api_requests=19
    )
    assert list(report) == ["schema", "llm_used", "duration_seconds", "api_requests", "incidents"]
    (incident,) = report["incidents"]
    assert list(incident) == [
        "key", "title", "severity", "verdict", "root_cause", "hypotheses", "evidence", "affected", "examined",
        "signals", "recommended_actions", "escalate", "escalation_reason",
    ]  # fmt: skip
    ids = {fact["id"] for fact in incident["evidence"]}
    assert all(set(h["evidence"]) | set(h["against"]) <= ids for h in incident["hypotheses"])
    assert "Root cause" in render_text(report) and "```" in render_markdown(report)


def test_text_from_logs_cannot_break_out_of_markdown():
    live = deployment(ready=0)
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    bad = pod(rs, crash_loop(terminated(2)))
    made = scene(API, live, rs, bad, logs=((bad, "api", True, ["panic: ``` <img src=x> [a](b)"]),))
    text = render_markdown(
        investigation_report([Result(API, (), diagnose(made))], duration_seconds=0, api_requests=0)
    )
    assert text.count("```") % 2 == 0 and "<img" not in text.replace("\\<img", "").split("```")[2]


def test_times_that_matter_are_the_signals_not_the_wall_clocks():
    live = deployment()
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    bad = pod(rs, running(restarts=1, last=terminated(137, "OOMKilled")))
    made = scene(API, live, rs, bad, kind=SignalType.OOM_KILL)
    later = made.model_copy(update={"now": NOW + timedelta(days=400)})
    assert (
        told(diagnose(later)) == told(diagnose(made)) == ("root_cause", "oom_limit_too_low", "Deployment api")
    )


def test_signals_decide_the_severity():
    live = deployment(ready=0)
    made = scene(API, live).model_copy(
        update={"signals": (signal(API).model_copy(update={"severity": Severity.CRITICAL}),)}
    )
    assert diagnose(made).severity == "critical"


def test_only_one_object_is_ever_blamed_above_a_half():
    other = ResourceRef(cluster="prod-eu", kind="Service", namespace="shop", name="api")
    lead = guess(Category.OOM_LIMIT_TOO_LOW, 1.0)
    second = guess(Category.SERVICE_MISROUTED, 0.95).model_copy(update={"resource": other})
    ranked = rank([second, lead])
    assert ranked[0].resource == API and ranked[1].confidence <= 0.49


def test_a_symptom_that_is_explained_keeps_half_its_confidence_at_most():
    cause = guess(Category.CONFIGMAP_CHANGED, 0.9, explains=(Category.CRASH,))
    symptom = guess(Category.CRASH, 0.8)
    alone, folded = rank([symptom])[0].confidence, rank([cause, symptom])[1].confidence
    assert folded == round(alone / 2, 2)


def test_too_little_to_blame_anybody_is_unknown():
    assert verdict_of(rank([guess(Category.CRASH, 0.45)]), healthy=False) is Verdict.UNKNOWN
    assert verdict_of(rank([guess(Category.CRASH, 0.55)]), healthy=False) is Verdict.HYPOTHESIS
