"""What a model must answer at each stage, and how its text is read: strictly, or not at all."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import Field, ValidationError

from cortexops.domain.errors import PermanentError
from cortexops.domain.evidence import Evidence
from cortexops.domain.reasoning_use import Claim, Stage
from cortexops.domain.resource import Frozen

_LONGEST_ANSWER = 60_000  # characters
_MOST_COMPLAINTS = 5
_THOUGHTS = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)\n\s*```", re.DOTALL)


class Shift(Frozen):
    """By how much the model would change the confidence of a hypothesis, why, and by which evidence."""

    hypothesis: str = Field(max_length=16)
    delta: float
    why: Claim


class EvidenceRequest(Frozen):
    """More evidence, from a collector of the fixed list, about an object that was shown by its id."""

    collector: str = Field(max_length=32)
    object: str = Field(max_length=16)
    container: str = Field(max_length=253)
    previous: bool
    lines: int

    @property
    def fingerprint(self) -> str:
        """Equal for requests that would read the same."""
        rest = f":{self.container}:{self.previous}" if self.collector == "logs" else ""
        return f"{self.collector}:{self.object}{rest}"


class ExtractAnswer(Frozen):
    facts: tuple[Claim, ...] = Field(max_length=30)


class RankAnswer(Frozen):
    order: tuple[str, ...] = Field(max_length=20)
    shifts: tuple[Shift, ...] = Field(max_length=20)
    requests: tuple[EvidenceRequest, ...] = Field(max_length=20)


class ExplainAnswer(Frozen):
    hypothesis: str = Field(max_length=16)
    cause: Claim
    whys: tuple[Claim, ...] = Field(max_length=10)


class NarrateAnswer(Frozen):
    sentences: tuple[Claim, ...] = Field(max_length=12)


Answer = ExtractAnswer | RankAnswer | ExplainAnswer | NarrateAnswer

ANSWERS: dict[Stage, type[ExtractAnswer | RankAnswer | ExplainAnswer | NarrateAnswer]] = {
    Stage.EXTRACT: ExtractAnswer,
    Stage.RANK: RankAnswer,
    Stage.EXPLAIN: ExplainAnswer,
    Stage.NARRATE: NarrateAnswer,
}


class Unreadable(PermanentError):
    """The text is no answer of the schema; the message says why, without repeating the text."""


def schema_of(stage: Stage) -> dict[str, Any]:
    """JSON Schema of a stage's answer, in the subset that endpoints accept for strict output.

    Bounds of length and range are left out: they are checked when the answer is read.
    """
    schema: dict[str, Any] = _strict(ANSWERS[stage].model_json_schema())
    return schema


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(each) for each in node]
    if not isinstance(node, dict):
        return node
    dropped = ("maxLength", "maxItems", "title", "default", "description")
    kept = {key: _strict(value) for key, value in node.items() if key not in dropped}
    if kept.get("type") == "object" and "properties" in kept:
        kept["required"] = list(kept["properties"])
        kept["additionalProperties"] = False
    return kept


def read_answer(stage: Stage, text: str) -> Answer:
    """The answer in the model's text: a JSON object, alone, in one fence, or with words around it.

    Raises `Unreadable` for everything that the schema does not allow.
    """
    if len(text) > _LONGEST_ANSWER:
        raise Unreadable(f"the answer is longer than {_LONGEST_ANSWER} characters")
    try:
        # JSON mode, strictly: no number from a string, no truth from a number
        return ANSWERS[stage].model_validate_json(json.dumps(_object_in(text), allow_nan=False), strict=True)
    except ValidationError as error:
        said = [
            f"{'.'.join(str(part) for part in problem['loc'])[:80] or 'answer'}: {problem['msg'][:120]}"
            for problem in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise Unreadable("; ".join(said[:_MOST_COMPLAINTS])) from None
    except (ValueError, RecursionError):
        raise Unreadable("the answer is not JSON that the schema describes") from None


def _object_in(text: str) -> dict[str, Any]:
    text = _THOUGHTS.sub("", text).strip()
    fenced = _FENCED.findall(text)
    if len(fenced) > 1:
        raise Unreadable("the answer holds several blocks; one JSON object is expected")
    body = fenced[0] if fenced else text
    begin, end = body.find("{"), body.rfind("}")
    if begin < 0 or end < begin:
        raise Unreadable("the answer is prose; one JSON object is expected")
    try:
        found = json.loads(body[begin : end + 1], parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Unreadable("the answer is not valid JSON") from None
    if not isinstance(found, dict):
        raise Unreadable("the answer is not a JSON object")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


class Gathered(Frozen):
    """What further reading brought: new evidence, and how many requests were refused or found nothing."""

    evidence: tuple[Evidence, ...] = ()
    refused: int = 0
