"""`cortexops approvals …`: look at what is asked, and answer."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cortexops.cli.common import Output, OutputOption, emit, found, open_store, run, settings, table, whoami

app = typer.Typer(no_args_is_help=True, help="List, approve and deny.")
ReasonOption = Annotated[str, typer.Option("--reason", help="why; it is written into the audit trail")]
YesOption = Annotated[bool, typer.Option("--yes", help="do not show the diff and ask first")]


@app.command("list")
def list_(
    pending: Annotated[bool, typer.Option("--pending", help="only those that wait for an answer")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Approvals, newest first."""
    from cortexops.domain.approval import ApprovalState

    async def work() -> list[Any]:
        async with open_store() as store:
            return await store.approvals(state=ApprovalState.PENDING if pending else None)

    records = run(work())
    rows = [
        [
            r.request.id,
            r.request.incident_id,
            r.state,
            r.request.rule,
            f"{len(r.votes)}/{r.request.quorum}",
            r.request.action,
        ]
        for r in records
    ]
    data = [
        {
            "request": r.request.model_dump(mode="json"),
            "state": r.state,
            "votes": [v.model_dump(mode="json") for v in r.votes],
        }
        for r in records
    ]
    emit(
        output,
        data,
        lambda: table(["NAME", "ISSUE", "STATE", "RULE", "VOTES", "ACTION"], rows, "no approvals"),
    )


@app.command()
def approve(
    approval_id: str, reason: ReasonOption = "", yes: YesOption = False, output: OutputOption = Output.TEXT
) -> None:
    """Approve the exact change that is shown."""
    _vote(approval_id, "approve", reason, yes, output)


@app.command()
def deny(
    approval_id: str, reason: ReasonOption = "", yes: YesOption = False, output: OutputOption = Output.TEXT
) -> None:
    """Deny it: nothing is done, the incident ends as DENIED."""
    _vote(approval_id, "deny", reason, yes, output)


@app.command("take-over")
def take_over(
    approval_id: str, reason: ReasonOption = "", yes: YesOption = False, output: OutputOption = Output.TEXT
) -> None:
    """Stop the automation: you investigate by hand."""
    _vote(approval_id, "take_over", reason, yes, output)


def _vote(approval_id: str, answer: str, reason: str, yes: bool, output: Output) -> None:
    from cortexops.adapters import temporal
    from cortexops.adapters.votes import VoteBox
    from cortexops.domain.approval import Decision
    from cortexops.domain.narrative import diff_text

    decision = Decision(answer)

    async def work() -> Any:
        configured = settings()
        person = whoami(configured)
        async with open_store() as store:
            record = found(await store.approval(approval_id), approval_id)
            if not yes:
                typer.echo(
                    f"{record.request.cause}\n{record.request.action}\n{diff_text(record.request.diff)}",
                    err=True,
                )
                typer.confirm(f"{decision} as {person.id}?", abort=True, err=True)
            votes = VoteBox(await temporal.connect(configured.temporal), store)
            return await votes.cast(approval_id, person, decision, reason, record.request.digest)

    result = run(work())
    emit(
        output,
        result.model_dump(mode="json"),
        lambda: typer.echo(
            f"{result.approval_id}: {result.state} ({result.approvals}/{result.quorum} approvals)"
        ),
    )
