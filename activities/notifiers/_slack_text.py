"""What Slack shows: Block Kit from a message that is already redacted.

Text from outside is escaped and shown verbatim: it cannot mention a channel, make a link or leave a code
block. Slack's limits (3000 characters a section, 150 a header) are kept, and a cut is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cortexops.domain.approval import ApprovalRequest, Decision, Vote
from cortexops.domain.feedback import Rating
from cortexops.domain.incident import IncidentState
from cortexops.domain.message import Message, MessageKind
from cortexops.domain.narrative import diff_text
from cortexops.domain.signal import Severity

_SECTION = 2900
_CUT = "\n… cut: the console shows all of it"

SEVERITY_MARKS = {
    Severity.CRITICAL: ":rotating_light:",
    Severity.HIGH: ":red_circle:",
    Severity.MEDIUM: ":large_orange_circle:",
    Severity.LOW: ":large_blue_circle:",
}
_RED, _AMBER, _GREEN, _VIOLET, _GREY = "#c0172f", "#d98200", "#1d8a4e", "#7a3fc4", "#7b8497"
_COLOURS = {
    IncidentState.APPROVAL_PENDING: _VIOLET,
    IncidentState.RESOLVED: _GREEN,
    IncidentState.CONTAINED: _AMBER,
    IncidentState.ROLLED_BACK: _AMBER,
    IncidentState.EXPIRED: _AMBER,
    IncidentState.DENIED: _AMBER,
    IncidentState.SUPPRESSED: _GREY,
    IncidentState.MERGED: _GREY,
}
_NOTHING_JUDGED = frozenset({IncidentState.SUPPRESSED, IncidentState.MERGED})
_BUTTONS = (
    (Decision.APPROVE, "Approve", "primary"),
    (Decision.DENY, "Deny", "danger"),
    (Decision.TAKE_OVER, "Take over", ""),
)


def escape(text: str) -> str:
    """Slack's three escapes; words that ping a whole channel are broken by an invisible joint."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"@(?=(?:channel|here|everyone)\b)", "@\u2060", text, flags=re.IGNORECASE)


def shorten(text: str, most: int = _SECTION) -> str:
    """At most so many characters, saying when something is missing. For text that is escaped already."""
    if len(text) <= most:
        return text
    kept = text[: most - len(_CUT)]
    return re.sub(r"&[a-z]{0,3}$", "", kept) + _CUT  # never half an escape


def code(text: str) -> str:
    """A code block that its content cannot leave."""
    return f"```{shorten(escape(text).replace('```', chr(39) * 3), _SECTION - 10)}```"


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": shorten(text), "verbatim": True}}


def fields(values: dict[str, str]) -> dict[str, Any]:
    """Up to ten short facts side by side."""
    shown = [
        {
            "type": "mrkdwn",
            "text": f"*{escape(name)}*\n{shorten(escape(value) or '—', 1900)}",
            "verbatim": True,
        }
        for name, value in list(values.items())[:10]
    ]
    return {"type": "section", "fields": shown}


def context(text: str) -> dict[str, Any]:
    element = {"type": "mrkdwn", "text": shorten(text, 1900), "verbatim": True}
    return {"type": "context", "elements": [element]}


def words(state: str) -> str:
    return state.replace("_", " ").lower()


def duration(since: datetime, now: datetime) -> str:
    minutes, seconds = divmod(max(0, round((now - since).total_seconds())), 60)
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"


def headline(message: Message) -> str:
    """One line, also what a telephone shows."""
    drill = "[drill] " if message.drill else ""
    return f"{SEVERITY_MARKS[message.severity]} {drill}*{escape(message.title)}*"


def head(
    message: Message, *, since: datetime, facts: dict[str, str], notes: Sequence[str], url: str
) -> dict[str, Any]:
    """The first message of the thread, as the incident is now."""
    state = message.state
    colour = _COLOURS.get(state, _RED if message.severity.rank >= Severity.HIGH.rank else _AMBER)
    shown = {
        "State": words(state),
        "Severity": message.severity.value,
        ("Lasted" if state.final else "Running for"): duration(since, message.at),
        **facts,
    }
    blocks = [fields(shown)]
    blocks += [section(escape(note)) for note in notes if note]
    link = f" · <{url}/incidents/{message.incident_id}|open in the console>" if url else ""
    blocks.append(
        context(f"{escape(message.incident_id)} · detected {since.astimezone(UTC):%H:%M:%S} UTC{link}")
    )
    return _body(headline(message), colour, blocks)


def update(message: Message) -> dict[str, Any]:
    """A later message of the thread."""
    mark = ":white_check_mark: " if message.state is IncidentState.RESOLVED else ""
    title = f"{mark}*{words(message.kind)}* · {words(message.state)}"
    blocks = [section(escape(message.text) or "—")]
    if message.fields:
        blocks.append(fields(message.fields))
    if message.kind is MessageKind.ENDED and message.state not in _NOTHING_JUDGED:
        blocks += _judging(message.incident_id)
    return _body(title, _COLOURS.get(message.state, _GREY), blocks)


def _judging(incident_id: str) -> list[dict[str, Any]]:
    """Was the diagnosis right? Each answer is kept under the name of who presses."""
    value = json.dumps({"incident": incident_id})
    buttons = [
        {
            "type": "button",
            "action_id": f"cortexops_feedback_{rating.value}",
            "text": {"type": "plain_text", "text": rating.value.capitalize()},
            "value": value,
        }
        for rating in Rating
    ]
    block_id = f"feedback-{incident_id}"[:255]
    return [
        context("Was the diagnosis right?"),
        {"type": "actions", "block_id": block_id, "elements": buttons},
    ]


def approval(
    request: ApprovalRequest, *, url: str, outcome: str = "", votes: Sequence[Vote] = ()
) -> dict[str, Any]:
    """The question with its buttons and what was answered so far; with an outcome, the same without buttons."""
    roles = f" with role {' or '.join(request.roles)}" if request.roles else ""
    people = "1 person" if request.quorum <= 1 else f"{request.quorum} different people"
    blocks = [
        section(f"*{escape(request.action)}*"),
        section(code(diff_text(request.diff, most=60) or "no field changes")),
        section(f"*Cause* · {sure(request.confidence)}\n{escape(request.cause)}"),
    ]
    if request.evidence:
        shown = "\n".join(f"• {escape(fact)}" for fact in request.evidence)
        blocks.append(section(f"*Evidence*\n{shown}"))
    blocks.append(
        fields(
            {
                "Risk": request.risk,
                "Who is touched": request.blast_radius,
                "Needed": people + roles,
                "Policy": "\n".join((request.rule, *request.policy_reasons)),
            }
        )
    )
    if votes:
        blocks.append(section(f"*Answers* · {standing(request, votes)}\n{said(votes)}"))
    if outcome:
        title = f":ballot_box_with_check: *Decided* · {escape(request.id)}"
        blocks.append(section(f"*{escape(outcome)}*"))
    else:
        title = f":raised_hand: *Approval needed* · {escape(request.id)}"
        blocks.append(section(f"*Expires* {moment(request.expires_at)}, then nothing is done"))
        blocks.append({"type": "actions", "block_id": request.id[:255], "elements": _buttons(request)})
    if url:
        blocks.append(context(f"<{url}/incidents/{request.incident_id}#approval|evidence and exact diff>"))
    return _body(title, _GREY if outcome else _VIOLET, blocks)


def reminder(message: Message, *, mentions: str, url: str) -> dict[str, Any]:
    """Somebody has to answer, or nobody did. `mentions` are Slack's own, made from configured ids."""
    request = message.approval
    over = message.kind is MessageKind.APPROVAL_SILENCE
    mark, title = (":no_bell:", "Nobody answered") if over else (":hourglass_flowing_sand:", "Still waiting")
    blocks = [section(f"{mentions}\n{escape(message.text)}".strip())]
    if request is not None:
        blocks.append(section(f"*{escape(request.action)}*\n{escape(request.cause)}"))
        if not over:
            blocks.append(context(f"expires {moment(request.expires_at)}"))
    if url:
        blocks.append(context(f"<{url}/incidents/{message.incident_id}#approval|look and answer>"))
    return _body(f"{mark} *{title}* · {escape(message.title)}", _AMBER, blocks)


def moment(at: datetime) -> str:
    """A time in the reader's own zone; readers without one see UTC."""
    return f"<!date^{int(at.timestamp())}^{{time_secs}} ({{date_short_pretty}})|{at.astimezone(UTC):%H:%M:%S} UTC>"


def sure(confidence: float) -> str:
    """`almost certain (93%)`."""
    scale = ((0.9, "almost certain"), (0.7, "likely"), (0.4, "possible"))
    return f"{next((word for least, word in scale if confidence >= least), 'a guess')} ({confidence:.0%})"


def standing(request: ApprovalRequest, votes: Sequence[Vote]) -> str:
    agreed = len({vote.person.id for vote in votes if vote.decision is Decision.APPROVE})
    return f"{agreed} of {max(1, request.quorum)} approvals"


def said(votes: Sequence[Vote]) -> str:
    """Who answered what, a line each."""
    return "\n".join(
        f"• {escape(v.person.name or v.person.id)}: {words(v.decision)}"
        + (f" ({escape(v.reason)})" if v.reason else "")
        for v in votes
    )


def _buttons(request: ApprovalRequest) -> list[dict[str, Any]]:
    value = json.dumps({"approval": request.id, "digest": request.digest})
    return [
        {
            "type": "button",
            "action_id": f"cortexops_{decision.value}",
            "text": {"type": "plain_text", "text": label},
            "value": value,
            **({"style": style} if style else {}),
        }
        for decision, label, style in _BUTTONS
    ]


def _body(text: str, colour: str, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "text": shorten(text),
        "attachments": [{"color": colour, "blocks": blocks, "fallback": text[:300]}],
    }
