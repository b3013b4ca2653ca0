"""How often memory finds the earlier incident that is the same: variants of vectors and of their mixture.

Every evaluation incident with one cause happens three times under other names. Two of them are remembered
(so that each has 2 right answers among some 200 cases), the third is asked for in four ways: as it is
found again; with half of its evidence; with half of it in other words; and by a person's words only, title
and one fact. Right is a case of the same evaluation incident; its place counts distinct incidents. A figure
is recall at 1, recall at 3 and mean reciprocal rank.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from qdrant_client import QdrantClient, models

from benchmarks.measure import Row, plain
from cortexops.adapters import text_vectors
from cortexops.adapters.qdrant import QdrantMemory
from cortexops.domain.case import Case
from cortexops.domain.precedent import Fingerprint
from cortexops.domain.recall import CANDIDATES, heaviest, precedent
from cortexops.domain.resource import ResourceRef
from tests.evals.rename import renamed
from tests.evals.run import FOLDERS, investigate, load

_QUICK = 12
_TWINS = "injected-"
"""Other incidents once more, with hostile text added: they would have several right answers."""
_MOST = 30
_AT = datetime(2026, 1, 1, tzinfo=UTC)
_CLUSTER = "eval"
_LEAST_AT_THREE = 0.95  # three precedents are cited
_OTHER_WORDS = {
    "crash loop": "container keeps restarting", "replicas missing": "too few instances",
    "error rate": "many failing requests", "probe failure": "health check fails",
    "rollout stuck": "deployment does not finish", "oom kill": "killed for lack of RAM",
    "scheduling": "pod stays pending", "kubecontainerwaiting": "container does not start",
    "kubejobfailed": "batch run failed", "targetdown": "scrape fails", "latency": "slow answers",
    "cpu high": "processor busy", "was changed": "has been modified", "ended with exit code": "terminated with code",
    "restarts": "times restarted", "not found": "does not exist", "replicas ready": "instances available",
    "was rolled out": "has been deployed", "waits": "is waiting", "the previous run of": "earlier output from",
    "says": "logged", "names": "mentions", "unready": "not serving", "changed by": "edited via",
    "memory": "RAM", "killed": "terminated", "refused": "rejected", "missing": "absent",
}  # fmt: skip


class Seen(NamedTuple):
    """What an investigation said of one occurrence of the evaluation incident `name`."""

    name: str
    title: str
    category: str
    summary: str
    kind: str
    facts: tuple[str, ...]

    def text(self, facts: Sequence[str]) -> str:
        return "\n".join([self.title, self.category, self.summary, *facts[:20]])


class Found(NamedTuple):
    """Shares of questions whose first right answer came first, or among three; mean reciprocal rank."""

    at_one: float
    at_three: float
    mrr: float


async def rows(quick: bool) -> list[Row]:
    """All variants over all ways to ask; the product's own is held to a target."""
    folders = [folder for folder in FOLDERS if not folder.name.startswith(_TWINS)]
    folders = folders[:_QUICK] if quick else folders
    kept: list[Seen] = []
    asked: list[Seen] = []
    for folder in folders:
        incident = load(folder.name)
        seen = [await _seen(folder.name, renamed(incident, salt)) for salt in ("a", "b", "q")]
        if all(seen):
            kept += [each for each in seen[:2] if each]
            asked += [each for each in seen[2:] if each]
    questions = dict(_questions(asked))
    found = [*_variants(kept, asked, questions)]
    found += await _product(kept, asked, questions)
    return [plain("cases remembered for recall", [float(len(kept))], "cases"), *found]


async def _seen(name: str, incident: object) -> Seen | None:
    report = await investigate(incident)  # type: ignore[arg-type]
    first = report["incidents"][0]
    cause = first["root_cause"]
    if cause is None or len(report["incidents"]) > 1:
        return None
    facts = tuple(e["summary"] for e in first["evidence"] if e["id"].startswith("e"))
    kind = first["key"].split(":")[-2]
    return Seen(name, first["title"], cause["category"], cause["summary"], kind, facts)


def _questions(asked: Sequence[Seen]) -> Iterator[tuple[str, list[str]]]:
    chance = random.Random(7)

    def half(seen: Seen) -> str:
        return seen.text([fact for fact in seen.facts if chance.random() < 0.5])

    yield "found again", [seen.text(seen.facts) for seen in asked]
    yield "half the evidence", [half(seen) for seen in asked]
    yield "other words", [_reworded(half(seen)) for seen in asked]
    yield "title and one fact", [_reworded("\n".join([s.title, *s.facts[:1]])) for s in asked]


def _reworded(text: str) -> str:
    for words, others in _OTHER_WORDS.items():
        text = re.sub(words, others, text, flags=re.IGNORECASE)
    return text


Scores = Callable[[str, Seen], list[tuple[int, float]]]


def _variants(kept: Sequence[Seen], asked: Sequence[Seen], questions: dict[str, list[str]]) -> Iterator[Row]:
    client = QdrantClient(":memory:")
    client.create_collection(
        "all",
        vectors_config={"form": models.VectorParams(size=text_vectors.SIZE, distance=models.Distance.COSINE)},
        sparse_vectors_config={"terms": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    client.upsert("all", [_point(number, seen) for number, seen in enumerate(kept)])

    def ask(text: str, using: str, only: models.Filter | None = None) -> list[tuple[int, float]]:
        query = text_vectors.dense(text) if using == "form" else _terms(text)
        answer = client.query_points("all", query=query, using=using, limit=_MOST, query_filter=only)
        return [(int(point.id), point.score) for point in answer.points]

    def ranks(text: str, _: Seen) -> list[tuple[int, float]]:
        scores: dict[int, float] = {}
        for using in ("terms", "form"):
            for place, (id, _score) in enumerate(ask(text, using)):
                scores[id] = scores.get(id, 0.0) + 1 / (2 + place)
        return sorted(scores.items(), key=lambda item: -item[1])

    def shares(text: str, _: Seen, only: models.Filter | None = None) -> list[tuple[int, float]]:
        by_terms = ask(text, "terms", only)
        best = max((score for _, score in by_terms), default=1.0) or 1.0
        scores = {id: score / best for id, score in by_terms}
        form = text_vectors.dense(text)
        for id in {*scores, *(id for id, _ in ask(text, "form", only))}:
            alike = text_vectors.similarity(form, text_vectors.dense(kept[id].text(kept[id].facts)))
            scores[id] = scores.get(id, 0.0) + alike
        return sorted(scores.items(), key=lambda item: -item[1])

    variants: dict[str, Scores] = {
        "terms only": lambda text, _: ask(text, "terms"),
        "letter groups only": lambda text, _: ask(text, "form"),
        "both, by rank": ranks,
        "both, by sum": shares,
        "sum, same category only": lambda text, seen: shares(text, seen, _only("category", seen.category)),
        "sum, same kind only": lambda text, seen: shares(text, seen, _only("kind", seen.kind)),
    }
    for variant, scores in variants.items():
        for way, texts in questions.items():
            places = [
                _place(seen, [kept[id].name for id, _ in scores(text, seen)])
                for seen, text in zip(asked, texts, strict=True)
            ]
            yield _row(f"{variant}; {way}", places)
    client.close()


async def _product(kept: Sequence[Seen], asked: Sequence[Seen], questions: dict[str, list[str]]) -> list[Row]:
    """The real memory in a folder, weighed as investigations weigh it."""
    found, seconds = [], []
    with TemporaryDirectory() as folder:
        memory = await QdrantMemory.connect(path=Path(folder) / "memory")
        try:
            for number, seen in enumerate(kept):
                await memory.remember(_case(number, seen))
            for way, texts in questions.items():
                places = []
                for seen, text in zip(asked, texts, strict=True):
                    began = time.perf_counter()
                    recalled = await memory.recall(text, cluster=_CLUSTER, most=CANDIDATES)
                    seconds.append((time.perf_counter() - began) * 1000)
                    weighed = [
                        precedent(
                            each, target=_target(seen), category=seen.category, present=Fingerprint(),
                            wrong={}, now=_AT,
                        )
                        for each in recalled
                    ]  # fmt: skip
                    order = heaviest(weighed, len(weighed))
                    places.append(_place(seen, [kept[int(p.incident_id)].name for p in order]))
                target = _LEAST_AT_THREE if way == "found again" else None
                found.append(_row(f"as the product recalls; {way}", places, target))
        finally:
            await memory.close()
    return [*found, plain("milliseconds for one recall", seconds, "ms")]


def _place(seen: Seen, names: Sequence[str]) -> int:
    """The place of the first right answer among distinct incidents, from 1; 0 when it is not there."""
    distinct = list(dict.fromkeys(names))
    return distinct.index(seen.name) + 1 if seen.name in distinct else 0


def _row(what: str, places: Sequence[int], least: float | None = None) -> Row:
    number = len(places)
    found = Found(
        sum(place == 1 for place in places) / number,
        sum(0 < place <= 3 for place in places) / number,
        sum(1 / place for place in places if place) / number,
    )
    figure = f"{found.at_one:.3f} {found.at_three:.3f} {found.mrr:.3f}"
    target = f">= {least:g} at 3" if least is not None else ""
    met = None if least is None else found.at_three >= least
    return Row(f"recall: {what}", figure, target, met, [found.at_one])


def _terms(text: str) -> models.SparseVector:
    terms = text_vectors.sparse(text)
    return models.SparseVector(indices=list(terms), values=list(terms.values()))


def _only(field: str, value: str) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key=field, match=models.MatchValue(value=value))])


def _point(number: int, seen: Seen) -> models.PointStruct:
    text = seen.text(seen.facts)
    return models.PointStruct(
        id=number,
        vector={"form": text_vectors.dense(text), "terms": _terms(text)},
        payload={"category": seen.category, "kind": seen.kind},
    )


def _target(seen: Seen) -> ResourceRef:
    return ResourceRef(cluster=_CLUSTER, kind=seen.kind, namespace="asked", name="asked")


def _case(number: int, seen: Seen) -> Case:
    return Case(
        incident_id=str(number), cluster=_CLUSTER, namespace="kept", kind=seen.kind, name=f"kept-{number}",
        category=seen.category, text=seen.text(seen.facts), action="x", action_type="x", outcome="RESOLVED",
        verified=True, at=_AT,
    )  # fmt: skip
