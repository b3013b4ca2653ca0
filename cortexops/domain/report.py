"""The report of one-shot investigations: one JSON contract (`cortexops.investigation/v1`), text, Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from cortexops.domain import past_words
from cortexops.domain.action import Candidate
from cortexops.domain.around import Around
from cortexops.domain.correlation import title_of
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis
from cortexops.domain.evidence import Evidence, GapReason
from cortexops.domain.ids import incident_key
from cortexops.domain.reasoning_words import model_lines
from cortexops.domain.reasoning_words import report_of as model_report
from cortexops.domain.report_actions import escalation, recommended
from cortexops.domain.resource import ResourceRef
from cortexops.domain.runbook_run import RunbookRun
from cortexops.domain.runbook_words import headline, report_of
from cortexops.domain.runbook_words import lines as runbook_lines
from cortexops.domain.signal import Severity, Signal
from cortexops.domain.steering import report_caveat_field, report_facts

SCHEMA = "cortexops.investigation/v1"
_MOST_EVIDENCE = 60
_MOST_EVENTS = 30
_SYMPTOMS = frozenset(
    {
        Category.CRASH, Category.DEPENDENCY_DOWN, Category.CRASH_SINCE_RELEASE, Category.READINESS_PROBE,
        Category.LIVENESS_PROBE, Category.INIT_CONTAINER_FAILED, Category.STUCK_POD, Category.BAD_ROLLOUT,
        Category.STATEFULSET_STUCK, Category.SCHEDULING,
    }
)  # fmt: skip
_MOST_WHYS = 5
_SLACK_SECTION = 2900  # characters; Slack takes 3,000
_SLACK_BLOCKS = 45  # of 50


class Result(NamedTuple):
    """One investigation: whom it was about, what it found, what could be done, what was seen of the cause."""

    subject: ResourceRef
    signals: tuple[Signal, ...]
    diagnosis: Diagnosis
    candidates: tuple[Candidate, ...] = ()
    around: Around | None = None


def group(results: Sequence[Result]) -> list[list[Result]]:
    """Results with the same root cause are one incident; the surest comes first in each.

    The same object blamed by name only ("it does not answer") and with its own cause is one incident, too.
    """
    groups: dict[tuple[str, ...], list[Result]] = {}
    specific = {
        cause.resource.key: cause.category
        for result in results
        if (cause := result.diagnosis.cause) is not None and cause.category is not Category.DEPENDENCY_DOWN
    }
    for result in results:
        cause = result.diagnosis.cause
        if cause is None:
            key: tuple[str, ...] = ("", result.subject.key)
        else:
            category = cause.category
            if category is Category.DEPENDENCY_DOWN:
                category = specific.get(cause.resource.key, category)
            key = (cause.resource.key, category)
        groups.setdefault(key, []).append(result)
    for members in groups.values():
        members.sort(key=lambda r: (not _is_cause(r), -_confidence(r.diagnosis), r.subject.key))
    return sorted(groups.values(), key=lambda g: (-_severity(g).rank, g[0].subject.key))


def _is_cause(result: Result) -> bool:
    return result.diagnosis.cause is not None and result.diagnosis.cause.resource == result.subject


def _confidence(diagnosis: Diagnosis) -> float:
    return diagnosis.cause.confidence if diagnosis.cause else 0.0


def _severity(members: Sequence[Result]) -> Severity:
    return Severity.worst([result.diagnosis.severity for result in members])


def investigation_report(
    results: Sequence[Result], *, duration_seconds: float, api_requests: int
) -> dict[str, Any]:
    """The documented JSON. Every cause in it cites evidence by id."""
    return {
        "schema": SCHEMA,
        "llm_used": any(result.diagnosis.llm_used for result in results),
        "duration_seconds": round(duration_seconds, 3),
        "api_requests": api_requests,
        "incidents": [_incident(members) for members in group(results)],
    }


def _ref(ref: ResourceRef) -> dict[str, str]:
    return ref.model_dump(mode="json")


def _incident(members: list[Result]) -> dict[str, Any]:
    first = members[0]
    diagnosis = first.diagnosis
    signals = [signal for result in members for signal in result.signals]
    cause = diagnosis.cause
    affected = dict.fromkeys(ref for result in members for ref in result.diagnosis.affected)
    examined = dict.fromkeys(ref for result in members for ref in result.diagnosis.examined)
    escalate, reason = escalation(diagnosis, first.candidates)
    about = cause.resource if cause is not None and len(members) > 1 else first.subject
    return {
        "key": incident_key(about),
        "title": title_of(signals, first.subject) if signals else str(first.subject),
        "severity": _severity(members).value,
        "verdict": diagnosis.verdict.value,
        "root_cause": None
        if cause is None
        else {
            "resource": _ref(cause.resource),
            "category": cause.category.value,
            "summary": cause.summary,
            "confidence": cause.confidence,
        },
        "hypotheses": [_hypothesis(h) for h in diagnosis.hypotheses],
        "evidence": _evidence(diagnosis),
        "affected": [_ref(ref) for ref in affected],
        "examined": [_ref(ref) for ref in examined],
        "signals": list(dict.fromkeys(signal.id or signal.name for signal in signals)),
        "recommended_actions": recommended(diagnosis, first.candidates, first.subject, first.around),
        "escalate": escalate,
        "escalation_reason": reason,
        **report_caveat_field(each for result in members for each in result.diagnosis.attempts),
        **_runbook(members),
        **past_words.report_of(diagnosis),
        **_model(members),
    }


def _model(members: Sequence[Result]) -> dict[str, Any]:
    """What a model contributed to those who share the cause; no field at all where none was asked."""
    uses = [r.diagnosis.model for r in members if r.diagnosis.model is not None]
    return {"model": model_report(uses[0])} if uses else {}


def _runbook(members: Sequence[Result]) -> dict[str, Any]:
    """The first runbook of those who share the cause; no field at all where there is none."""
    runs: list[RunbookRun] = [r.diagnosis.runbook for r in members if r.diagnosis.runbook is not None]
    return {"runbook": report_of(runs[0])} if runs else {}


def _runbook_text(incident: dict[str, Any]) -> tuple[str, list[str]] | None:
    run = incident.get("runbook")
    return (headline(run), runbook_lines(run)) if run else None


def _hypothesis(hypothesis: Hypothesis) -> dict[str, Any]:
    return {
        "resource": _ref(hypothesis.resource),
        "category": hypothesis.category.value,
        "summary": hypothesis.summary,
        "confidence": hypothesis.confidence,
        "evidence": list(hypothesis.evidence),
        "against": list(hypothesis.against),
    }


def _evidence(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """The facts, then what could not be seen: an absent answer is a fact about the investigation."""
    found = [_fact(fact) for fact in diagnosis.evidence[: _MOST_EVIDENCE - len(diagnosis.attempts)]]
    found += report_facts(diagnosis.attempts)
    unseen = [gap for gap in diagnosis.gaps if gap.reason is not GapReason.NO_DATA]
    found += [
        {
            "id": f"g{number}",
            "kind": "status",
            "resource": _ref(diagnosis.target),
            "at": None,
            "summary": f"not seen: {gap.what} ({gap.reason.value})",
            "excerpt": gap.detail,
            "command": "",
        }
        for number, gap in enumerate(unseen[: _MOST_EVIDENCE - len(found)], start=1)
    ]
    return found


def _fact(fact: Evidence) -> dict[str, Any]:
    return {
        "id": fact.id,
        "kind": fact.kind.value,
        "resource": _ref(fact.resource),
        "at": _time(fact.at),
        "summary": fact.summary,
        "excerpt": fact.excerpt,
        "command": fact.command,
    }


def _time(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None


def _moment(fact: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(fact["at"])


def timeline(incident: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """(seconds from the first sign of trouble, fact) of all dated facts; changes before it are negative."""
    dated = sorted((fact for fact in incident["evidence"] if fact["at"]), key=lambda f: (_moment(f), f["id"]))
    signs = [_moment(fact) for fact in dated if fact["kind"] not in ("change", "config")]
    if not dated:
        return []
    zero = min(signs, default=_moment(dated[0]))
    return [(round((_moment(fact) - zero).total_seconds()), fact) for fact in dated[:_MOST_EVENTS]]


def whys(incident: dict[str, Any]) -> list[str]:
    """From what complains to the cause, each answering why the one before is so; empty when it is one step."""
    cause = incident["root_cause"]
    if cause is None:
        return []
    chain = [
        h
        for h in incident["hypotheses"][1:]
        if h["category"] in _SYMPTOMS
        and h["resource"] != cause["resource"]
        and h["confidence"] < cause["confidence"]
    ]
    chain.sort(key=lambda h: h["category"] != Category.DEPENDENCY_DOWN)
    steps = list(dict.fromkeys([*(h["summary"] for h in chain[: _MOST_WHYS - 1]), cause["summary"]]))
    return steps if len(steps) > 1 else []


def verify_first(incident: dict[str, Any]) -> list[str]:
    """Commands that show the leading hypothesis' evidence again, those to run before anything is changed."""
    facts = {fact["id"]: fact["command"] for fact in incident["evidence"]}
    cited = [facts.get(id, "") for h in incident["hypotheses"][:1] for id in h["evidence"]]
    return [command for command in dict.fromkeys(cited) if command][:3]


def render_text(report: dict[str, Any]) -> str:
    """The report for a terminal."""
    lines: list[str] = []
    for incident in report["incidents"]:
        lines += [f"{incident['title']}  [{incident['severity']}]", ""]
        lines += [f"  {line}" for line in _cause_lines(incident)]
        for fact in incident["evidence"][:12]:
            at = f" at {fact['at']}" if fact["at"] else ""
            lines.append(f"  [{fact['id']}] {fact['kind']}: {fact['summary']}{at}")
        for number, why in enumerate(whys(incident), start=1):
            lines.append(f"  why {number}: {why}")
        for offset, fact in timeline(incident)[:12]:
            lines.append(f"  {_offset(offset)}  {fact['summary'][:140]} [{fact['id']}]")
        lines += [f"  ! {caveat}" for caveat in incident.get("caveats", ())]
        if incident["verdict"] == "hypothesis":
            lines += [f"  verify first: {command}" for command in verify_first(incident)]
        if (run := _runbook_text(incident)) is not None:
            lines += ["", f"  {run[0]}", *(f"    {line}" for line in run[1])]
        for action in incident["recommended_actions"]:
            mark = f", {action['effect']} it" if action["feasible"] else " (not by this product)"
            lines += ["", f"  {action['type']} {_name(action['target'])}, risk {action['risk']}{mark}"]
            lines += [f"    {command}" for command in action["commands"]]
            lines += [f"    ! {caveat}" for caveat in action["caveats"]]
        if "model" in incident:
            lines += ["", *(f"  {line}" for line in model_lines(incident["model"]))]
        if incident["escalate"]:
            lines += ["", f"  A person is needed: {incident['escalation_reason']}"]
        lines += [
            "",
            f"  {len(incident['examined'])} objects examined, {len(incident['affected'])} affected",
            "",
        ]
    lines.append(
        f"{report['api_requests']} API requests, {report['duration_seconds']} s, no model used"
        if not report["llm_used"]
        else f"{report['api_requests']} API requests, {report['duration_seconds']} s, with a model's help"
    )
    return "\n".join(lines)


def _name(ref: dict[str, str]) -> str:
    return f"{ref['kind']} {ref['namespace'] + '/' if ref['namespace'] else ''}{ref['name']}"


def _cause_lines(incident: dict[str, Any]) -> list[str]:
    cause = incident["root_cause"]
    if cause is None:
        return [f"Verdict: {incident['verdict']}"]
    sure = {"root_cause": "Root cause", "external": "Outside the cluster"}.get(
        incident["verdict"], "Hypothesis, verify first"
    )
    others = [f"  also possible ({h['confidence']:.2f}): {h['summary']}" for h in incident["hypotheses"][1:4]]
    past = [f"  {line}" for line in past_words.lines(incident)]
    return [f"{sure} ({cause['confidence']:.2f}): {cause['summary']}", *others, *past]


def render_markdown(report: dict[str, Any]) -> str:
    """The report for a chat or a ticket. What came from the cluster stands in fences or is escaped."""
    lines: list[str] = []
    for incident in report["incidents"]:
        lines += [f"## {_plain(incident['title'])} · {incident['severity']}", ""]
        lines += ["```", *(_unfenced(line) for line in _cause_lines(incident)), "```", "", "**Evidence**", ""]
        lines += [
            f"- `{fact['id']}` {fact['kind']}: {_plain(fact['summary'])}"
            for fact in incident["evidence"][:12]
        ]
        lines += [f"- **Caveat**: {_plain(caveat)}" for caveat in incident.get("caveats", ())]
        dated = timeline(incident)
        if dated:
            lines += ["", "**Timeline** (from the first sign of trouble)", ""]
            lines += [
                f"- `{_offset(offset)}` {_plain(fact['summary'][:140])} `{fact['id']}`"
                for offset, fact in dated[:12]
            ]
        steps = whys(incident)
        if steps:
            lines += ["", "**Why**", "", *(f"1. {_plain(why)}" for why in steps)]
        if (run := _runbook_text(incident)) is not None:
            lines += ["", f"**{_plain(run[0])}**", "", *(f"- {_plain(line)}" for line in run[1])]
        for action in incident["recommended_actions"]:
            lines += [
                "",
                f"**{action['type']}** {_plain(_name(action['target']))} (risk {action['risk']}"
                f"{', ' + action['effect'] + ' it' if action['feasible'] else ''})",
                "",
            ]
            lines += ["```sh", *(_unfenced(command) for command in action["commands"]), "```"]
            lines += [f"- {_plain(caveat)}" for caveat in action["caveats"]]
        if "model" in incident:
            lines += ["", "**A model's words**", ""]
            lines += [f"- {_plain(line.strip())}" for line in model_lines(incident["model"])]
        if incident["escalate"]:
            lines += ["", f"_A person is needed: {_plain(str(incident['escalation_reason']))}_"]
        lines.append("")
    return "\n".join(lines)


def render_slack(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The report as Slack blocks. What came from the cluster is escaped and stands in fences."""
    blocks: list[dict[str, Any]] = []
    for incident in report["incidents"]:
        title = f"{incident['title']} · {incident['severity']}"[:150]
        blocks.append({"type": "header", "text": {"type": "plain_text", "text": title}})
        blocks.append(_section(_fenced(_cause_lines(incident))))
        facts = [f"[{fact['id']}] {fact['kind']}: {fact['summary']}" for fact in incident["evidence"][:8]]
        if facts:
            blocks.append(_section("*Evidence*\n" + _fenced(facts)))
        if (run := _runbook_text(incident)) is not None:
            blocks.append(
                _section(f"*{_escaped(run[0])[:300]}*" + (f"\n{_fenced(run[1])}" if run[1] else ""))
            )
        for action in incident["recommended_actions"][:3]:
            head = f"*{_escaped(action['type'])}* {_escaped(_name(action['target']))}, risk {action['risk']}"
            notes = "".join(f"\n:warning: {_escaped(caveat)}" for caveat in action["caveats"][:2])
            blocks.append(_section(f"{head}\n{_fenced(action['commands'])}{notes}"))
        said = incident.get("model", {}).get("summary")
        if said:
            blocks.append(_section(f"_In a model's words:_\n{_fenced([said['text']])}"))
        if incident["escalate"]:
            blocks.append(_section(f"_A person is needed:_ {_escaped(str(incident['escalation_reason']))}"))
        blocks.append({"type": "divider"})
    return blocks[:_SLACK_BLOCKS]


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")[:_SLACK_SECTION]


def _fenced(lines: Sequence[str]) -> str:
    inner = _escaped("\n".join(_unfenced(line) for line in lines))[: _SLACK_SECTION - 400]
    return f"```{inner}```"


def _offset(seconds: int) -> str:
    """`-12m`, `+3m`, `onset`."""
    if abs(seconds) < 30:
        return "onset"
    sign, rest = ("-", -seconds) if seconds < 0 else ("+", seconds)
    if rest < 5400:
        return f"{sign}{round(rest / 60)}m"
    return f"{sign}{round(rest / 3600)}h" if rest < 172_800 else f"{sign}{round(rest / 86_400)}d"


def _plain(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", " ")
    for mark in "`*_[]<>|#":
        escaped = escaped.replace(mark, f"\\{mark}")
    return escaped


def _unfenced(text: str) -> str:
    return text.replace("```", "'''")
