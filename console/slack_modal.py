"""The form behind each of Slack's approval buttons, and what comes back from it.

What the answer is about travels in the form's private metadata, which Slack keeps and signs: the approval, the
digest of the change that was shown, the answer, and who opened it. The person types a reason and nothing else.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, ValidationError

from console.rendering import masked, masked_value
from cortexops.domain.approval import ApprovalRequest, Decision, needs_reason
from cortexops.domain.change import DiffLine
from cortexops.domain.narrative import diff_text
from cortexops.domain.resource import Frozen

CALLBACK = "cortexops_vote"
_BLOCK, _INPUT = "reason", "text"
_LONGEST_DIFF = 2800
_WORDS = {
    Decision.APPROVE: ("Approve", "The change below is made as soon as enough people agree."),
    Decision.DENY: ("Deny", "Nothing is done, and the incident ends as denied."),
    Decision.TAKE_OVER: ("Take over", "Automation stops at once. You go on by hand; nothing is changed."),
}
_HINTS = {
    Decision.APPROVE: "What convinced you? It goes to the audit trail.",
    Decision.DENY: "Why not? It goes to the audit trail.",
    Decision.TAKE_OVER: "What will you look at? It goes to the audit trail.",
}


class Asked(Frozen):
    """What a form is about."""

    approval: str = Field(max_length=200)
    digest: str = Field(max_length=128)
    decision: Decision
    user: str = Field(max_length=50)
    channel: str = Field("", max_length=50)
    thread: str = Field("", max_length=50)

    @property
    def needs_reason(self) -> bool:
        return needs_reason(self.decision)


def read_button(value: str) -> tuple[str, str] | None:
    """Approval and digest of a button that we made."""
    try:
        asked = json.loads(value)
        return str(asked["approval"]), str(asked["digest"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def form(asked: Asked, request: ApprovalRequest) -> dict[str, Any]:
    """The modal. Texts of the request are redacted and shown as plain text, never as markup."""
    title, meaning = _WORDS[asked.decision]
    lines = [
        DiffLine(
            path=masked(line.path),
            before=masked_value(line.before, line.path),
            after=masked_value(line.after, line.path),
        )
        for line in request.diff
    ]
    diff = diff_text(lines, most=40) or "no field changes"
    if len(diff) > _LONGEST_DIFF:
        diff = diff[:_LONGEST_DIFF] + "\n… cut: the console shows all of it"
    action = masked(request.action)
    element = {
        "type": "plain_text_input",
        "action_id": _INPUT,
        "multiline": True,
        "max_length": 1000,
        "placeholder": _plain(_HINTS[asked.decision]),
    }
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": _plain(f"{meaning}\n\n{action[:1500]}")},
        {
            "type": "rich_text",
            "elements": [{"type": "rich_text_preformatted", "elements": [{"type": "text", "text": diff}]}],
        },
        {
            "type": "input",
            "block_id": _BLOCK,
            "optional": not asked.needs_reason,
            "label": _plain("Reason"),
            "element": element,
        },
    ]
    return {
        "type": "modal",
        "callback_id": CALLBACK,
        "private_metadata": asked.model_dump_json(),
        "title": _plain(title),
        "submit": _plain(title),
        "close": _plain("Cancel"),
        "blocks": blocks,
    }


def read_form(view: Any) -> tuple[Asked, str] | None:
    """What a submitted form is about, and the reason; None when it is not a form of ours."""
    if not isinstance(view, dict) or view.get("callback_id") != CALLBACK:
        return None
    try:
        asked = Asked.model_validate_json(str(view.get("private_metadata") or ""))
        found = view["state"]["values"][_BLOCK][_INPUT].get("value")
    except (ValidationError, KeyError, TypeError, AttributeError):
        return None
    return asked, str(found or "").strip()[:1000]


def reason_missing() -> dict[str, Any]:
    """Keeps the form open and says what is missing."""
    return {"response_action": "errors", "errors": {_BLOCK: "A reason is needed: the audit trail keeps it."}}


def told(text: str) -> dict[str, Any]:
    """Replaces the form by the result."""
    view = {
        "type": "modal",
        "title": _plain("Approval"),
        "close": _plain("Close"),
        "blocks": [{"type": "section", "text": _plain(text[:2900])}],
    }
    return {"response_action": "update", "view": view}


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}
