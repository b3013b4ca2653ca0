"""A model's part of an investigation as the report shows it: marked as the model's, apart from what code found."""

from __future__ import annotations

from typing import Any

from cortexops.domain.reasoning_use import Claim, ModelUse


def report_of(use: ModelUse) -> dict[str, Any]:
    """The optional field `model` of an incident in `cortexops.investigation/v1`."""
    return {
        "outcome": use.outcome.value,
        "models": list(use.models),
        "calls": use.spent.calls,
        "tokens_in": use.spent.tokens_in,
        "tokens_out": use.spent.tokens_out,
        "cost": round(use.spent.cost, 6),
        "rounds": use.rounds,
        "cut_claims": use.cut_claims,
        "refused_requests": use.refused_requests,
        "reordered": use.reordered,
        "summary": _claim(use.summary) if use.summary is not None else None,
        "whys": [_claim(claim) for claim in use.whys],
        "narrative": [_claim(claim) for claim in use.narrative],
        "facts": [_claim(claim) for claim in use.facts],
        "caveats": list(use.caveats),
    }


def _claim(claim: Claim) -> dict[str, Any]:
    return {"text": claim.text, "evidence": list(claim.cites)}


def model_lines(model: dict[str, Any]) -> list[str]:
    """For reading: what the model says, with its evidence, and what it cost."""
    lines = [_said("In a model's words", model["summary"])] if model["summary"] else []
    lines += [_said(f"a model's why {number}", claim) for number, claim in enumerate(model["whys"], start=1)]
    if model["narrative"]:
        lines.append("As a model tells it:")
        lines += [f"  {claim['text']} [{' '.join(claim['evidence'])}]" for claim in model["narrative"]]
    lines += [f"! {caveat}" for caveat in model["caveats"]]
    lines.append(cost_line(model))
    return lines


def cost_line(model: dict[str, Any]) -> str:
    """`model small: 4 calls, 5200 tokens in, 700 out, cost 0.0021`."""
    names = ", ".join(model["models"]) or "none was reached"
    cost = f", cost {model['cost']:g}" if model["cost"] else ""
    return f"model ({names}): {model['calls']} calls, {model['tokens_in']} tokens in, {model['tokens_out']} out{cost}"


def _said(head: str, claim: dict[str, Any]) -> str:
    return f"{head}: {claim['text']} [{' '.join(claim['evidence'])}]"
