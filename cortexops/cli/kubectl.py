"""`kubectl cortexops …`: answer approvals from where you already are, over the console's REST API.

kubectl runs any program on PATH that is called `kubectl-cortexops`. It needs no access to database or cluster:
only the console's address and your token, from CORTEXOPS_URL and CORTEXOPS_TOKEN or from a file of your own.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn
from urllib.parse import quote, urlsplit

import typer

from cortexops.cli.common import FINDING, USAGE, Output, OutputOption, emit, fail, say, table

if TYPE_CHECKING:
    import httpx

app = typer.Typer(
    name="kubectl cortexops",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Look at incidents and answer approvals of CortexOps.",
)
_DEFAULT_URL = "http://127.0.0.1:8090"
_TIMEOUT = 15.0
ReasonOption = Annotated[str, typer.Option("--reason", "-r", help="why; it is written into the audit trail")]
NeededReason = Annotated[str, typer.Option("--reason", "-r", help="why; needed, the audit trail keeps it")]
DigestOption = Annotated[
    str, typer.Option("--digest", help="the change that you looked at; any other one is refused")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="do not show the change and ask first")]


class Console(NamedTuple):
    """Where the console is and who asks."""

    url: str
    token: str


def configured() -> Console:
    """From the environment, else from `client.yaml` in the configuration folder of the user."""
    known = _file()
    url = os.environ.get("CORTEXOPS_URL") or known.get("url") or _DEFAULT_URL
    token = os.environ.get("CORTEXOPS_TOKEN") or known.get("token") or ""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        fail(f"CORTEXOPS_URL: {url!r} is no http(s) address", USAGE)
    if parts.scheme == "http" and not _local(parts.hostname):
        fail(
            "CORTEXOPS_URL: your token would cross the network readable. Use https, or "
            "`kubectl port-forward` and http://127.0.0.1.",
            USAGE,
        )
    if not token.strip():
        fail("CORTEXOPS_TOKEN is not set: answers need to know who you are", USAGE)
    return Console(url.rstrip("/"), token.strip())


def _local(host: str) -> bool:
    from cortexops.settings import is_loopback

    return is_loopback(host)


def _file() -> dict[str, str]:
    import yaml

    folder = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    path = Path(folder) / "cortexops" / "client.yaml"
    if not path.is_file():
        return {}
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        fail(f"{path} can be read by others: chmod 600 it, it holds your token", USAGE)
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        fail(f"{path} is not readable YAML", USAGE)
    if not isinstance(found, dict) or set(found) - {"url", "token"}:
        fail(f"{path} may hold `url` and `token` and nothing else", USAGE)
    return {name: str(value) for name, value in found.items()}


def call(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request; every trouble becomes a sentence and an exit code."""
    import httpx

    console = configured()
    headers = {"authorization": f"Bearer {console.token}", "accept": "application/json"}
    try:
        with httpx.Client(timeout=_TIMEOUT, trust_env=False, headers=headers) as client:
            answer = client.request(method, f"{console.url}/api/v1{path}", json=body)
    except httpx.TimeoutException:
        fail("the console did not answer in time; look at the approval before you repeat it", FINDING)
    except httpx.HTTPError as error:
        fail(f"the console cannot be reached: {type(error).__name__}; is CORTEXOPS_URL right?", FINDING)
    found = _json(answer)
    if answer.is_success and found is not None:
        return found
    _refused(answer.status_code, found or {})


def _json(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        found = answer.json()
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _refused(status: int, found: dict[str, Any]) -> NoReturn:
    refusal = f" [{found['refusal']}]" if found.get("refusal") else ""
    text = str(found.get("error") or f"the console answered with status {status}")
    hint = str(found.get("hint") or "")
    fail(f"{text}{refusal}\n{hint}".strip(), FINDING)


@app.command()
def approvals(
    all_: Annotated[bool, typer.Option("--all", help="also those that are decided")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """What people are asked, newest first."""
    found = call("GET", "/approvals" if all_ else "/approvals?state=pending")["approvals"]
    rows = [
        [a["id"], a["state"], f"{_agreed(a)}/{a['quorum']}", f"{a['expires_in_seconds']}s", a["action"]]
        for a in found
    ]
    columns = ["APPROVAL", "STATE", "VOTES", "EXPIRES", "ACTION"]
    emit(output, found, lambda: table(columns, rows, "no approvals"))


@app.command()
def incidents(
    all_: Annotated[bool, typer.Option("--all", help="also those that have ended")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Incidents, newest first."""
    found = call("GET", "/incidents" if all_ else "/incidents?open=true")["incidents"]
    rows = [[i["id"], i["severity"], i["state"], i["reason"], i["title"]] for i in found]
    columns = ["INCIDENT", "SEVERITY", "STATE", "REASON", "TITLE"]
    emit(output, found, lambda: table(columns, rows, "no incidents"))


@app.command()
def approve(
    approval_id: str,
    reason: ReasonOption = "",
    digest: DigestOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Approve the exact change that is shown."""
    _answer(approval_id, "approve", reason, digest, yes, output)


@app.command()
def deny(
    approval_id: str,
    reason: NeededReason,
    digest: DigestOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Deny it: nothing is done."""
    _answer(approval_id, "deny", reason, digest, yes, output)


@app.command("take-over")
def take_over(
    approval_id: str,
    reason: NeededReason,
    digest: DigestOption = "",
    yes: YesOption = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Stop the automation: you go on by hand."""
    _answer(approval_id, "take-over", reason, digest, yes, output)


def _answer(approval_id: str, answer: str, reason: str, digest: str, yes: bool, output: Output) -> None:
    from cortexops.domain.approval import Decision, checked_reason
    from cortexops.domain.errors import InvalidInput

    try:
        reason = checked_reason(Decision(answer.replace("-", "_")), reason)
    except InvalidInput as wrong:
        fail(f"--{wrong}", USAGE)
    where = f"/approvals/{quote(approval_id, safe='')}"
    asked = call("GET", where)
    if not yes:
        say(_text(asked), err=True)
        typer.confirm(f"{answer}?", abort=True, err=True)
    done = call("POST", f"{where}/{answer}", {"reason": reason, "digest": digest or asked["digest"]})
    repeated = done.get("outcome") == "already_voted"
    line = (
        f"{done['approval_id']}: {done['state']} ({done['approvals']}/{done['quorum']} approvals), "
        f"answered as {done['person']}"
        + (", already voted: you gave this answer before, it counts once" * repeated)
    )
    emit(output, done, lambda: say(line))


def _text(asked: dict[str, Any]) -> str:
    from pydantic import ValidationError

    from cortexops.domain.approval import ApprovalRequest, ApprovalState, Vote
    from cortexops.domain.narrative import approval_text

    try:
        request = ApprovalRequest.model_validate({k: asked.get(k) for k in ApprovalRequest.model_fields})
        votes = [Vote.model_validate(vote) for vote in asked["votes"]]
        return approval_text(request, ApprovalState(asked["state"]), votes)
    except (ValidationError, KeyError, ValueError):
        fail("the console's answer is not understood: is this program as new as the console?", FINDING)


def _agreed(asked: dict[str, Any]) -> int:
    return len({vote["person"]["id"] for vote in asked["votes"] if vote["decision"] == "approve"})


def main() -> None:
    """The console script `kubectl-cortexops`."""
    app()


if __name__ == "__main__":
    main()
