"""A runbook's run in words: for terminals, chats, pages and postmortems."""

from __future__ import annotations

from typing import Any

from cortexops.domain.runbook_run import RunbookRun, StepStatus
from cortexops.domain.runbook_template import as_text

_SHOWN = 20  # steps


def report_of(run: RunbookRun | None) -> dict[str, Any] | None:
    """The `runbook` of an incident in the report."""
    if run is None:
        return None
    return {
        "id": run.id,
        "version": run.version,
        "title": run.title,
        "origin": run.origin,
        "link": run.link,
        "also": list(run.also),
        "steps": [
            {
                "id": step.id,
                "title": step.title,
                "kind": step.kind.value,
                "status": step.status.value,
                "reason": step.reason.value,
                "detail": step.detail,
                "outputs": dict(step.outputs),
                "seconds": step.seconds,
                "evidence": step.evidence,
            }
            for step in run.steps
        ],
    }


def headline(run: dict[str, Any]) -> str:
    """`Runbook kube-pod-crash-looping 1.0: Pod keeps crashing`, or only the link where none was carried out."""
    if not run["id"]:
        return f"Runbook: {run['link']}"
    link = f" ({run['link']})" if run["link"] else ""
    return f"Runbook {run['id']} {run['version']}: {run['title']}{link}"


def lines(run: dict[str, Any]) -> list[str]:
    """One line for each step, of a run as the report has it."""
    return [line(step) for step in run["steps"][:_SHOWN]]


def line(step: dict[str, Any]) -> str:
    """`COMPLETED ready: Are replicas ready? (ready=2) [e4]`."""
    outputs = ", ".join(f"{name}={as_text(value)}" for name, value in step["outputs"].items())
    parts = [f"{step['status']} {step['id']}: {step['title']}"]
    if step["status"] != StepStatus.COMPLETED.value:
        parts.append(f"({step['reason'].replace('_', ' ')})")
    if step["detail"]:
        parts.append(f"- {step['detail']}")
    if outputs:
        parts.append(f"({outputs})")
    if step["evidence"]:
        parts.append(f"[{step['evidence']}]")
    return " ".join(parts)


def summary(run: RunbookRun) -> str:
    """For a postmortem: which runbook, and how many steps ended how."""
    if not run.id:
        return f"Runbook named by the alert: {run.link}."
    counted = ", ".join(f"{number} {status.value}" for status, number in sorted(run.counted().items()))
    return f"Runbook {run.id} {run.version} ({run.title}): {counted}."
