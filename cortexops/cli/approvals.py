"""`cortexops approvals …`: look at what is asked, and answer."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cortexops.cli.common import (
    USAGE,
    Output,
    OutputOption,
    emit,
    fail,
    found,
    open_store,
    run,
    say,
    settings,
    table,
    whoami,
)

app = typer.Typer(no_args_is_help=True, help="List, approve and deny.")
ReasonOption = Annotated[str, typer.Option("--reason", help="why; it is written into the audit trail")]
NeededReason = Annotated[str, typer.Option("--reason", help="why; needed, the audit trail keeps it")]
DigestOption = Annotated[
    str, typer.Option("--digest", help="the change that you looked at; any other one is refused")
]
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
    approval_id: str,
    reason: ReasonOption = "",
    digest: DigestOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Approve the exact change that is shown."""
    _vote(approval_id, "approve", reason, digest, yes, output)


@app.command()
def deny(
    approval_id: str,
    reason: NeededReason,
    digest: DigestOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Deny it: nothing is done, the incident ends as DENIED."""
    _vote(approval_id, "deny", reason, digest, yes, output)


@app.command("take-over")
def take_over(
    approval_id: str,
    reason: NeededReason,
    digest: DigestOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Stop the automation: you investigate by hand."""
    _vote(approval_id, "take_over", reason, digest, yes, output)


@app.command()
def show(approval_id: str, output: OutputOption = Output.TEXT) -> None:
    """One in full: the exact change, why, who is needed, and what was answered."""
    from cortexops.domain.narrative import approval_text

    async def work() -> Any:
        async with open_store() as store:
            return found(await store.approval(approval_id), approval_id)

    record = run(work())
    data = {
        "request": record.request.model_dump(mode="json"),
        "state": record.state,
        "votes": [v.model_dump(mode="json") for v in record.votes],
    }
    emit(output, data, lambda: say(approval_text(record.request, record.state, record.votes)))


def _vote(approval_id: str, answer: str, reason: str, digest: str, yes: bool, output: Output) -> None:
    from cortexops.adapters import temporal
    from cortexops.adapters.refusals import Refusals, RequestRefusal
    from cortexops.adapters.votes import VoteBox
    from cortexops.domain.approval import Decision, VoteOutcome, checked_reason
    from cortexops.domain.errors import InvalidInput
    from cortexops.domain.narrative import approval_text

    decision = Decision(answer)
    try:
        reason = checked_reason(decision, reason)
    except InvalidInput as wrong:
        fail(f"--{wrong}", USAGE)

    async def work() -> Any:
        configured = settings()
        async with open_store() as store:
            try:
                person = whoami(configured)
            except InvalidInput:
                await Refusals(store).request("cli", RequestRefusal.UNAUTHENTICATED)
                raise
            record = await store.approval(approval_id)
            if record is not None and not yes:
                say(approval_text(record.request, record.state, record.votes), err=True)
                typer.confirm(f"{decision} as {person.id}?", abort=True, err=True)
            looked_at = digest or (record.request.digest if record is not None else "")
            votes = VoteBox(await temporal.connect(configured.temporal), store)
            return await votes.cast(approval_id, person, decision, reason, looked_at)

    result = run(work())
    repeated = result.outcome is VoteOutcome.ALREADY_VOTED
    emit(
        output,
        result.model_dump(mode="json"),
        lambda: say(
            f"{result.approval_id}: {result.state} ({result.approvals}/{result.quorum} approvals)"
            + (", already voted: you gave this answer before, it counts once" * repeated)
        ),
    )
