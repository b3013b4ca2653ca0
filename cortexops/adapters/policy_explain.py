"""Why a bundle answers a question as it does: the rules that fired and what they looked at."""

from __future__ import annotations

from typing import Any

import httpx
from pydantic import Field

from cortexops.adapters.policy_bundle import Bundle, evaluate_once, explain, revision_of
from cortexops.adapters.policy_sources import RuleSource, Sources, value_at
from cortexops.domain.errors import PermanentError, TemporaryError
from cortexops.domain.policy import QUERY, PolicyDecision, denied, read_decision
from cortexops.domain.resource import Frozen

COLLECTIONS = ("denials", "approvals", "permits")
"""The sets that the shipped pack weighs; another bundle may have none of them."""
_WORDS = {"denials": "denies", "approvals": "asks people", "permits": "permits"}
_ORDER = {_WORDS[name]: place for place, name in enumerate(COLLECTIONS)}


class Place(Frozen):
    """A rule in a file."""

    file: str
    line: int
    source: str


class Fired(Frozen):
    """One verdict that was given. `looked_at`: what the rules depend on, with the values that they met."""

    verdict: str
    rule: str
    reason: str
    quorum: int | None = None
    places: tuple[Place, ...] = ()
    looked_at: dict[str, Any] = Field(default_factory=dict)


class Explanation(Frozen):
    decision: PolicyDecision
    fired: tuple[Fired, ...] = ()
    problem: str = ""
    """What the engine complained of, when it did not answer."""


def explain_on_regorus(bundle: Bundle, question: dict[str, Any]) -> Explanation:
    """Ask the bundle. Raises `PermanentError` when it cannot be evaluated at all."""
    rules = [QUERY, *(f"data.cortexops.{name}" for name in COLLECTIONS)]
    answers = evaluate_once(bundle.modules, bundle.data, rules, question=question)
    first = answers[0]
    if "error" in first:
        decision = denied("policy_error", revision=bundle.revision, engine="regorus")
        return Explanation(decision=decision, problem=explain(first["error"]))
    decision = read_decision(first.get("value"), revision=bundle.revision, engine="regorus")
    verdicts = dict(zip(COLLECTIONS, (answer.get("value") for answer in answers[1:]), strict=True))
    return Explanation(decision=decision, fired=_fired(verdicts, bundle.modules, bundle.data, question))


async def explain_on_opa(url: str, question: dict[str, Any], *, token: str | None = None) -> Explanation:
    """Ask the server, and read the rules that it has loaded. Raises `TemporaryError` when it does not answer,
    `PermanentError` when it refuses."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10, trust_env=False) as client:
            answer = (await client.post("/v1/data/cortexops", json={"input": question})).raise_for_status()
            policies = await client.get("/v1/policies")
            config = (await client.get("/v1/data/cortexops/config")).raise_for_status()
        package = answer.json().get("result") or {}
        loaded = policies.json().get("result", []) if policies.is_success else []
        modules = {item["id"]: item["raw"] for item in loaded}
        settings = config.json().get("result")
    except httpx.HTTPStatusError as error:
        raise PermanentError(f"the OPA server answers HTTP {error.response.status_code}") from None
    except httpx.HTTPError as error:
        raise TemporaryError(f"the OPA server does not answer ({type(error).__name__})") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PermanentError(f"the OPA server's answer is not understood ({type(error).__name__})") from None
    decision = read_decision(package.get("decision"), revision=revision_of(modules, settings), engine="opa")
    data = {"cortexops": {"config": settings}}
    return Explanation(decision=decision, fired=_fired(package, modules, data, question))


def _fired(
    verdicts: dict[str, Any], modules: dict[str, str], data: dict[str, Any], question: dict[str, Any]
) -> tuple[Fired, ...]:
    sources = Sources(modules)
    found = []
    for collection in COLLECTIONS:
        given = verdicts.get(collection)
        for item in given if isinstance(given, list) else []:
            if isinstance(item, dict) and "reason" in item:
                rules = sources.giving(collection, str(item["reason"]))
                found.append(_one(collection, item, rules, sources, data, question))
    return tuple(sorted(found, key=lambda one: (_ORDER[one.verdict], one.rule, one.reason)))


def _one(
    collection: str,
    item: dict[str, Any],
    rules: list[RuleSource],
    sources: Sources,
    data: dict[str, Any],
    question: dict[str, Any],
) -> Fired:
    paths = sorted({path for rule in rules for path in sources.looks_at(rule)})
    quorum = item.get("quorum")
    return Fired(
        verdict=_WORDS[collection],
        rule=str(item.get("rule", "")),
        reason=str(item["reason"]),
        quorum=quorum if isinstance(quorum, int) else None,
        places=tuple(Place(file=rule.file, line=rule.line, source=rule.text) for rule in rules),
        looked_at={path: value_at(path, question, data) for path in paths},
    )
