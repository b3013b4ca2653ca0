"""Which of a model's statements stand: those that cite evidence that exists, and only say something."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from cortexops.domain.reasoning_answers import (
    Answer,
    ExplainAnswer,
    ExtractAnswer,
    NarrateAnswer,
    RankAnswer,
)
from cortexops.domain.reasoning_use import LONGEST_CLAIM, Claim
from cortexops.domain.redaction import redact
from cortexops.domain.untrusted import injections, seen

_COMMAND = re.compile(
    r"(?i)(?:^|[\s`'\"(;|&$])(?:kubectl|oc|helm|curl|wget|sudo|ssh|bash|sh|psql|docker|crictl|etcdctl)\s+[-\w/]"
    r"|\brm\s+-[rf]|[a-z][a-z0-9+.-]*://|\]\(|<[a-z/!]|\bjavascript:|\bdata:text"
)
"""Commands, links and markup: what is to be done is computed, and nobody is sent anywhere by a model."""


class Checked(NamedTuple):
    """The claims that stand, and how many were cut."""

    kept: tuple[Claim, ...]
    cut: int


def wording(text: str) -> str:
    """The text as it may be shown, or nothing where it is more than wording: a command, a link, an instruction.

    What is masked and recognised in here changes with versions: it is done where the answer arrives, once,
    and a workflow that is replayed finds the result.
    """
    words = " ".join(seen(text).split())
    if _COMMAND.search(words) or injections(words):
        return ""
    return redact(words).text[:LONGEST_CLAIM]


def worded(answer: Answer) -> Answer:
    """The answer with the wording of each claim as it may be shown."""
    if isinstance(answer, ExtractAnswer):
        return ExtractAnswer(facts=_all(answer.facts))
    if isinstance(answer, RankAnswer):
        shifts = tuple(shift.model_copy(update={"why": _one(shift.why)}) for shift in answer.shifts)
        return answer.model_copy(update={"shifts": shifts})
    if isinstance(answer, ExplainAnswer):
        return answer.model_copy(update={"cause": _one(answer.cause), "whys": _all(answer.whys)})
    return NarrateAnswer(sentences=_all(answer.sentences))


def _one(claim: Claim) -> Claim:
    return claim.model_copy(update={"text": wording(claim.text)})


def _all(claims: tuple[Claim, ...]) -> tuple[Claim, ...]:
    return tuple(_one(claim) for claim in claims)


def stands(claim: Claim, known: frozenset[str]) -> Claim | None:
    """The claim, or None: no wording that may be shown, no evidence, or an invented id."""
    cites = tuple(dict.fromkeys(claim.cites))
    if not claim.text or not cites or not known.issuperset(cites):
        return None
    return claim.model_copy(update={"cites": cites})


def check(claims: Iterable[Claim], known: frozenset[str], *, most: int) -> Checked:
    """Those that stand, each once, at most so many; what is beyond is left out without being counted."""
    kept: dict[str, Claim] = {}
    cut = 0
    for claim in claims:
        good = stands(claim, known)
        if good is None:
            cut += 1
        elif len(kept) < most:
            kept.setdefault(good.text, good)
    return Checked(tuple(kept.values()), cut)
