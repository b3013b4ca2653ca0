"""Reasoning with a model as a pure state machine: what comes next, given what came back and what is left.

extract -> rank (-> gather -> rank …, bounded rounds) -> explain -> narrate. Whoever drives it (a workflow, or
one process) carries out the steps and tells the outcome. A call that fails for good ends the reasoning; what
stood until then stays. Time is passed in as seconds since the beginning.
"""

from __future__ import annotations

from pydantic import Field

from cortexops.domain.diagnosis import Diagnosis, Hypothesis, Verdict
from cortexops.domain.evidence import Evidence
from cortexops.domain.reasoning_answers import (
    Answer,
    EvidenceRequest,
    ExplainAnswer,
    ExtractAnswer,
    Gathered,
    NarrateAnswer,
    RankAnswer,
)
from cortexops.domain.reasoning_bounds import Reranked, reranked
from cortexops.domain.reasoning_claims import check
from cortexops.domain.reasoning_use import Claim, Outcome, Spent, Stage
from cortexops.domain.resource import Frozen, ResourceRef

MOST_ATTEMPTS = 3
"""Tries of one call whose endpoint was away or busy."""
MOST_FACTS = 15
_MOST_WHYS = 5
_MOST_SENTENCES = 8
_MOST_REQUESTS = 5
_MOST_FURTHER = 40
_BACKOFF = 1.0  # seconds, doubled each time, where the endpoint names no time
_MOST_CAVEATS = 10
_AGAIN = (Outcome.RATE_LIMITED, Outcome.UNAVAILABLE)
_LEAST_SECONDS = 1.0
_ORDER = (Stage.EXTRACT, Stage.RANK, Stage.EXPLAIN, Stage.NARRATE)


class ModelLimits(Frozen):
    """Bounds of one incident; 0 tokens or cost mean that this one is not bounded. They travel with the
    incident, so that it keeps those it started with."""

    rounds: int = 3
    tokens: int = 60_000
    cost: float = 0.0
    seconds: float = 120.0
    call_seconds: float = 60.0
    """The longest that one call may take, whatever its stage."""


class Brief(Frozen):
    """What a model is shown of an investigation. Everything in it is masked; none of it is trusted."""

    target: ResourceRef
    diagnosis: Diagnosis
    further: tuple[Evidence, ...] = ()
    """Evidence that no rule cited, with ids after those of the diagnosis."""
    alerts: tuple[str, ...] = ()
    objects: tuple[ResourceRef, ...] = ()
    """What more may be asked about, named `o1`, `o2` … in this order."""

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        return (*self.diagnosis.evidence, *self.further)

    @property
    def known(self) -> frozenset[str]:
        return frozenset(fact.id for fact in self.evidence)


class Thought(Frozen):
    """How one call of a model ended. Exactly `answered` carries an answer."""

    outcome: Outcome
    answer: Answer | None = None
    spent: Spent = Spent()
    model: str = ""
    detail: str = ""
    """Why there is no answer, in our words."""
    retry_after: float | None = None


class Ask(Frozen):
    """Call the model for this stage, after `wait` seconds; `complaint` says what was wrong with the last answer."""

    stage: Stage
    round: int
    complaint: str = ""
    wait: float = 0.0
    attempt: int = 1


class Gather(Frozen):
    """Read this, too."""

    requests: tuple[EvidenceRequest, ...]


class Done(Frozen):
    """Nothing more is to be asked."""

    outcome: Outcome


class Thinking(Frozen):
    """Everything that happened so far in the reasoning about one diagnosis."""

    brief: Brief
    limits: ModelLimits = ModelLimits()
    before: Spent = Spent()
    """What earlier investigations of the same incident have used up."""
    stage: Stage = Stage.EXTRACT
    round: int = 1
    attempt: int = 1
    corrected: bool = False
    complaint: str = ""
    wait: float = 0.0
    spent: Spent = Spent()
    by_stage: dict[Stage, int] = Field(default_factory=dict)
    """Tokens of each stage."""
    models: tuple[str, ...] = ()
    facts: tuple[Claim, ...] = ()
    ranking: Reranked | None = None
    summary: Claim | None = None
    whys: tuple[Claim, ...] = ()
    narrative: tuple[Claim, ...] = ()
    pending: tuple[EvidenceRequest, ...] = ()
    asked: tuple[str, ...] = ()
    cut: int = 0
    refused: int = 0
    caveats: tuple[str, ...] = ()
    ended: Outcome | None = None

    @property
    def used(self) -> Spent:
        """Of the incident as a whole."""
        return self.before + self.spent

    @property
    def tokens_left(self) -> int | None:
        """None when they are not bounded."""
        return max(0, self.limits.tokens - self.used.tokens) if self.limits.tokens else None

    @property
    def cost_left(self) -> float | None:
        return max(0.0, self.limits.cost - self.used.cost) if self.limits.cost else None

    @property
    def diagnosis(self) -> Diagnosis:
        """As ranked so far."""
        return self.ranking.diagnosis if self.ranking is not None else self.brief.diagnosis

    @property
    def lead(self) -> str:
        """The name under which the model knows the leading hypothesis."""
        return self.ranking.lead if self.ranking is not None and self.ranking.lead else "h1"

    @property
    def last_round(self) -> bool:
        return self.round >= self.limits.rounds


def worth_asking(diagnosis: Diagnosis) -> bool:
    """Whether there is anything that a model could rank or word."""
    return (
        diagnosis.verdict is not Verdict.HEALTHY and bool(diagnosis.hypotheses) and bool(diagnosis.evidence)
    )


def begin(brief: Brief, limits: ModelLimits, before: Spent = Spent()) -> Thinking:  # noqa: B008 - frozen
    return Thinking(brief=brief, limits=limits, before=before)


def next_step(state: Thinking, elapsed: float) -> Ask | Gather | Done:
    """What to do now, `elapsed` seconds after the beginning."""
    if state.ended is not None:
        return Done(outcome=state.ended)
    left = state.limits.seconds - elapsed
    spent = state.tokens_left == 0 or state.cost_left == 0.0
    if spent or left - state.wait < _LEAST_SECONDS:
        return Done(outcome=Outcome.BUDGET)
    if state.pending:
        return Gather(requests=state.pending)
    return Ask(
        stage=state.stage,
        round=state.round,
        complaint=state.complaint,
        wait=state.wait,
        attempt=state.attempt,
    )


def answered(state: Thinking, thought: Thought) -> Thinking:
    """After a call."""
    tokens, complaint = thought.spent.tokens, state.complaint
    models = (thought.model,) if thought.model and thought.model not in state.models else ()
    state = _with(
        state,
        spent=state.spent + thought.spent,
        by_stage=state.by_stage | {state.stage: state.by_stage.get(state.stage, 0) + tokens},
        models=(*state.models, *models),
        wait=0.0,
        complaint="",
    )
    if thought.outcome is Outcome.INVALID and not state.corrected:
        return _with(state, corrected=True, complaint=thought.detail or "the answer was not of the schema")
    if thought.outcome in _AGAIN and state.attempt < MOST_ATTEMPTS:
        pause = (
            thought.retry_after if thought.retry_after is not None else _BACKOFF * 2 ** (state.attempt - 1)
        )
        return _with(state, attempt=state.attempt + 1, wait=max(0.0, pause), complaint=complaint)
    if thought.outcome is not Outcome.ANSWERED or thought.answer is None:
        outcome = thought.outcome if thought.outcome is not Outcome.ANSWERED else Outcome.INVALID
        return _with(state, ended=outcome)
    return _taken(state, thought.answer)


def gathered(state: Thinking, found: Gathered | None) -> Thinking:
    """After further reading; None when it failed. The ids of new evidence follow those that are known."""
    fresh = [fact for fact in found.evidence if fact.id not in state.brief.known] if found else []
    room = max(0, _MOST_FURTHER - len(state.brief.further))
    brief = state.brief.model_copy(update={"further": (*state.brief.further, *fresh[:room])})
    return _with(
        state,
        brief=brief,
        pending=(),
        round=state.round + 1,
        refused=state.refused + (found.refused if found else len(state.pending)),
    )


def _taken(state: Thinking, answer: Answer) -> Thinking:
    if isinstance(answer, ExtractAnswer) and state.stage is Stage.EXTRACT:
        good = check(answer.facts, state.brief.known, most=MOST_FACTS)
        return _forward(_with(state, facts=good.kept, cut=state.cut + good.cut))
    if isinstance(answer, RankAnswer) and state.stage is Stage.RANK:
        return _ranked(state, answer)
    if isinstance(answer, ExplainAnswer) and state.stage is Stage.EXPLAIN:
        return _explained(state, answer)
    if isinstance(answer, NarrateAnswer) and state.stage is Stage.NARRATE:
        good = check(answer.sentences, state.brief.known, most=_MOST_SENTENCES)
        return _forward(_with(state, narrative=good.kept, cut=state.cut + good.cut))
    return _with(state, ended=Outcome.INVALID)


def _ranked(state: Thinking, answer: RankAnswer) -> Thinking:
    ranking = reranked(state.brief.diagnosis, answer, state.brief.known)
    state = _with(state, ranking=ranking, cut=state.cut + ranking.cut)
    if ranking.clamped:
        state = _caveat(state, "The model asked for more than it may change; it was held to the bounds.")
    new: dict[str, EvidenceRequest] = {}
    refused = 0
    for request in answer.requests:
        if request.fingerprint in state.asked or request.fingerprint in new:
            refused += 1
            state = _caveat(state, "The model asked for the same evidence again; it was refused.")
        elif state.last_round or len(new) >= _MOST_REQUESTS:
            refused += 1
        else:
            new[request.fingerprint] = request
    state = _with(state, refused=state.refused + refused)
    if new:
        return _with(
            state, pending=tuple(new.values()), asked=(*state.asked, *new), attempt=1, corrected=False
        )
    return _forward(state)


def _explained(state: Thinking, answer: ExplainAnswer) -> Thinking:
    """Wording of another hypothesis than the one that leads is not taken."""
    claims = (answer.cause, *answer.whys)
    if answer.hypothesis != state.lead:
        state = _caveat(state, "The model explained another cause than the one that the evidence bears.")
        return _forward(_with(state, cut=state.cut + len(claims)))
    cause = check(claims[:1], state.brief.known, most=1)
    whys = check(claims[1:], state.brief.known, most=_MOST_WHYS)
    return _forward(
        _with(
            state,
            summary=next(iter(cause.kept), None),
            whys=whys.kept,
            cut=state.cut + cause.cut + whys.cut,
        )
    )


def _forward(state: Thinking) -> Thinking:
    """On to the next stage; after the last one it is done."""
    place = _ORDER.index(state.stage) + 1
    state = _with(state, attempt=1, corrected=False)
    if place == len(_ORDER):
        return _with(state, ended=Outcome.ANSWERED)
    return _with(state, stage=_ORDER[place])


def _caveat(state: Thinking, text: str) -> Thinking:
    if text in state.caveats or len(state.caveats) >= _MOST_CAVEATS:
        return state
    return _with(state, caveats=(*state.caveats, text))


def _with(state: Thinking, **changes: object) -> Thinking:
    return state.model_copy(update=changes)


def shown_hypotheses(state: Thinking) -> list[tuple[str, Hypothesis]]:
    """Code's hypotheses with their names, in code's order."""
    return [(f"h{place}", each) for place, each in enumerate(state.brief.diagnosis.hypotheses, start=1)]


def slim(state: Thinking) -> Thinking:
    """The state as the next call needs it: excerpts go where the facts in them have been extracted."""
    if state.stage is Stage.EXTRACT:
        return state
    brief = state.brief
    bare = tuple(fact.model_copy(update={"excerpt": ""}) for fact in brief.diagnosis.evidence)
    diagnosis = brief.diagnosis.model_copy(update={"evidence": bare})
    return _with(state, brief=brief.model_copy(update={"diagnosis": diagnosis}))
