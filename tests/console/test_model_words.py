"""The incident's page tells a model's words as such, with what they rest on and what they cost; and all the rest."""

from __future__ import annotations

import html
import re

import pytest

from console.telling import NO_ANSWER, decisions, folded
from cortexops.domain.action import BlastRadius
from cortexops.domain.audit import AuditType
from cortexops.domain.diagnosis import Category, Diagnosis, Hypothesis, Support
from cortexops.domain.ledger import LedgerState
from cortexops.domain.reasoning_use import Claim, ModelUse, Outcome, Spent
from tests.console.support import World, sign_in
from tests.console.test_pages import HOSTILE, Tags
from tests.support.case import TARGET, a_diagnosis, a_ledger_row, end_case, entry, open_case
from tests.support.engines import Database
from tests.support.postgres import as_owner

SECRET = "postgres://orders:s3cret-Passw0rd@db/orders"


def a_use(**changes: object) -> ModelUse:
    base: dict[str, object] = {
        "outcome": Outcome.ANSWERED,
        "spent": Spent(calls=4, tokens_in=5210, tokens_out=813, cost=0.0123),
        "models": ("small-1", "large-2"),
        "rounds": 2,
        "cut_claims": 1,
        "reordered": True,
        "measured": 0.91,
        "summary": Claim(text="The new release needs more memory than its limit", cites=("e1", "e3")),
        "whys": (Claim(text="The limit was left as it was", cites=("e4", "e99")),),
        "narrative": (Claim(text="At 02:34 revision 12 replaced the image", cites=("e3",)),),
        "caveats": ("metrics are six hours old",),
    }
    return ModelUse.model_validate({**base, **changes})


def worded(**changes: object) -> Diagnosis:
    known = a_diagnosis()
    lead = known.hypotheses[0].model_copy(update={"explains": (Category.READINESS_PROBE,)})
    symptom = Hypothesis(
        resource=TARGET, category=Category.READINESS_PROBE, summary="The readiness probe fails",
        support=Support(direct=0.8), confidence=0.36,
    )  # fmt: skip
    return known.model_copy(
        update={
            "llm_used": True,
            "model": a_use(**changes),
            "hypotheses": (lead, symptom, *known.hypotheses[1:]),
        }
    )


async def page_of(world: World, incident_id: str) -> str:
    async with world.client() as client:
        await sign_in(client)
        answer = await client.get(f"/incidents/{incident_id}")
    assert answer.status_code == 200
    return answer.text


async def test_a_models_words_are_labelled_cite_their_evidence_and_tell_their_cost(world: World) -> None:
    incident = await open_case(world.store, diagnosis=worded())
    page = await page_of(world, incident.id)
    card = page.split('aria-labelledby="model-title"')[1].split("</section>")[0]
    for text in (
        "In a model's words", "not a finding",
        "small-1, large-2", "<q>The new release needs more memory than its limit</q>", "0.0123",
        "5210 sent, 813 received", "in 2 rounds", "metrics are six hours old", "91 %", "without evidence",
    ):  # fmt: skip
        assert text in card, text
    links = set(re.findall(r'href="#([^"]+)"', card))
    assert links == {"evidence-e1", "evidence-e3", "evidence-e4"}
    assert links <= {attributes.get("id") for _, attributes in Tags(page).found}
    assert "<code>e99</code>" in card  # not evidence of this incident: told, not linked


async def test_without_a_model_the_page_has_no_such_part(world: World) -> None:
    incident = await open_case(world.store)
    assert "model-title" not in await page_of(world, incident.id)


@pytest.mark.parametrize("outcome", sorted(NO_ANSWER))
async def test_a_model_that_did_not_answer_is_told_with_the_reason(world: World, outcome: Outcome) -> None:
    silent = {"summary": None, "whys": (), "narrative": (), "caveats": (), "spent": Spent(calls=1)}
    incident = await open_case(world.store, diagnosis=worded(outcome=outcome, **silent))
    page = await page_of(world, incident.id)
    said = f"A model was asked and said nothing: {NO_ANSWER[outcome]} ({outcome})."
    assert said in html.unescape(re.sub(r"</?code>", "", page))


def test_every_outcome_without_an_answer_is_explained() -> None:
    assert set(NO_ANSWER) == set(Outcome) - {Outcome.ANSWERED}


async def test_what_a_model_writes_is_text_and_nothing_else(world: World) -> None:
    hostile = f"{HOSTILE} {SECRET} \u202eabc\u200b"
    claim = Claim(text=hostile, cites=(HOSTILE, "e1"))
    diagnosis = worded(
        summary=claim,
        whys=(claim,),
        narrative=(claim,),
        facts=(claim,),
        caveats=(hostile,),
        models=(HOSTILE,),
    )
    incident = await open_case(world.store, diagnosis=diagnosis)
    page = await page_of(world, incident.id)
    tags = Tags(page).found
    assert not [tag for tag, a in tags if a.get("src") == "x" or (tag == "script" and "src" not in a)]
    assert not [a for _, a in tags if {"onerror", "onfocus"} & set(a)]
    assert "s3cret-Passw0rd" not in page
    assert "\u202e" not in page
    assert "⟨U+202E⟩" in page


async def test_symptoms_stand_apart_from_other_causes(world: World) -> None:
    incident = await open_case(world.store, diagnosis=worded())
    page = await page_of(world, incident.id)
    symptoms = page.split("Symptoms that this explains")[1].split("</ul>")[0]
    others = page.split("Also considered")[1].split("</ul>")[0]
    assert "The readiness probe fails" in symptoms
    assert "The readiness probe fails" not in others
    assert "Node node-3 runs out of memory" in others
    assert folded(a_diagnosis()) == []


async def test_the_plan_and_what_policy_said_of_it_are_shown_also_without_an_approval(world: World) -> None:
    incident = await open_case(world.store)
    radius = BlastRadius(replicas=3, dependents=()).model_dump(mode="json")
    refused = entry(
        incident.id, AuditType.POLICY_VIOLATION, 20,
        f"deny: restart_workload {TARGET} (why=a: b): a <b>freeze</b>, too wide", reason="freeze",
        data={
            "effect": "deny", "reasons": ["a <b>freeze</b>", "too wide"], "rule": "freeze", "quorum": 1,
            "input": {"blast_radius": radius},
        },
    )  # fmt: skip
    await world.store.append([refused])
    page = await page_of(world, incident.id)
    plan = page.split('id="plan-title"')[1].split("</section>")[0]
    for text in ("effect-deny", f"restart_workload {TARGET} (why=a: b)</code>", "freeze", "3 replicas"):
        assert text in plan, text
    assert "a &lt;b&gt;freeze&lt;/b&gt;<br>too wide" in plan
    strange = (await world.store.events(incident.id))[-1].model_copy(
        update={"data": {"effect": 7, "reasons": "x", "quorum": "y", "input": {"blast_radius": {"z": 1}}}}
    )
    assert decisions([strange])[0].effect == "7"


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (LedgerState.UNKNOWN, "A person must look:"), (LedgerState.REFUSED, "Not done:"),
    ],
)  # fmt: skip
async def test_what_became_of_a_change_is_said_in_words(world: World, state: LedgerState, says: str) -> None:
    incident = await open_case(world.store)
    row = a_ledger_row(incident.id)
    await world.store.intend(row, entry(incident.id, AuditType.INTENT, 96, "about to patch"))
    done = entry(incident.id, AuditType.ACTION_EXECUTED, 97, "done")
    await world.store.settle(row.operation_id, state, "see e1", done)
    assert f"<strong>{says}</strong> see e1" in await page_of(world, incident.id)


async def test_votes_verification_and_the_chain_are_on_the_page_of_an_ended_incident(world: World) -> None:
    incident, _ = await end_case(world.store, await open_case(world.store))
    page = await page_of(world, incident.id)
    for text in ("<strong>Verified:</strong> 3/3 replicas ready", "<strong>Ana</strong>", "matches e4"):
        assert text in page, text
    events = await world.store.events(incident.id)
    assert f"Audit chain whole: {len(events)} entries checked." in page


async def test_a_broken_chain_is_said_on_the_page(world: World, migrated_database: Database) -> None:
    incident = await open_case(world.store)
    for statement in (
        "ALTER TABLE audit_events DISABLE TRIGGER USER",
        f"UPDATE audit_events SET at = at + interval '1 hour' WHERE chain = '{incident.id}' AND number = 3",
    ):
        await as_owner(migrated_database, statement)
    page = await page_of(world, incident.id)
    assert "The audit chain is broken:" in page
    assert "#3" in page
