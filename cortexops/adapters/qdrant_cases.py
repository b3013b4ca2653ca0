"""Cases as points of Qdrant's collections: how they are laid down and how they are found again."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cortexops.adapters import text_vectors
from cortexops.adapters.embeddings import EmbeddingEndpoint, EmbeddingError
from cortexops.domain.case import Case, Recalled
from cortexops.metrics import MEMORY_FAILURES
from cortexops.telemetry import get_logger

if TYPE_CHECKING:
    from qdrant_client import QdrantClient
    from qdrant_client.http.models import Filter, ScoredPoint, SparseVector

_log = get_logger(__name__)

COLLECTION = "cortexops_cases_v1"
LEAST_SIMILARITY = 0.25
"""Cosine below which a case is no precedent: naming a stranger as one misleads the reader."""

_CANDIDATES = 30
_NAMESPACE = uuid.UUID("6f4a0c52-8a3f-5d0e-9a53-0c5f1b6f2d11")
_DENSE, _SPARSE = "form", "terms"


@contextmanager
def quiet() -> Iterator[None]:
    """The client warns about plain http with a key, and that folders know no indexes: both are meant so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def ensure(
    client: QdrantClient, *, remote: bool, name: str = COLLECTION, size: int = text_vectors.SIZE
) -> None:
    """Make the collection unless it is there."""
    from qdrant_client import models
    from qdrant_client.http.exceptions import UnexpectedResponse

    with quiet():
        if not client.collection_exists(name):
            try:
                client.create_collection(
                    name,
                    vectors_config={_DENSE: models.VectorParams(size=size, distance=models.Distance.COSINE)},
                    sparse_vectors_config={_SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
                )
            except UnexpectedResponse:
                if not client.collection_exists(name):  # else another process was faster
                    raise
        if remote:
            client.create_payload_index(name, "verified", models.PayloadSchemaType.BOOL)


def store(client: QdrantClient, case: Case, embeddings: EmbeddingEndpoint | None = None) -> None:
    """Into the collection that is always kept, and into that of the model, when it answers."""
    _put(client, COLLECTION, case, text_vectors.dense(case.text))
    if embeddings is None:
        return
    vector = _of_model(embeddings, case.text)
    if vector is not None:
        name = f"{COLLECTION}_{embeddings.space}"
        ensure(client, remote=False, name=name, size=len(vector))
        _put(client, name, case, vector)


def _put(client: QdrantClient, collection: str, case: Case, vector: list[float]) -> None:
    from qdrant_client import models

    point = models.PointStruct(
        id=_id(case.incident_id),
        vector={_DENSE: vector, _SPARSE: _terms(case.text)},
        payload=case.model_dump(mode="json"),
    )
    client.upsert(collection, points=[point], wait=True)


def _id(incident_id: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, incident_id))


def _terms(text: str) -> SparseVector:
    from qdrant_client import models

    terms = text_vectors.sparse(text)
    return models.SparseVector(indices=list(terms), values=list(terms.values()))


def _of_model(embeddings: EmbeddingEndpoint, text: str) -> list[float] | None:
    """The model's vector; None, counted, when it gives none: then the vectors that are computed here do."""
    try:
        return embeddings.embed(text)
    except EmbeddingError as error:
        MEMORY_FAILURES.labels(operation="embed").inc()
        _log.warning("the embeddings endpoint is done without", error=str(error))
        return None


def find(
    client: QdrantClient,
    text: str,
    cluster: str,
    most: int,
    embeddings: EmbeddingEndpoint | None = None,
    least_model_similarity: float = 0.5,
) -> list[Recalled]:
    """Verified cases by the sum of both likenesses, each at most 1; best first."""
    if not text_vectors.words(text) or most < 1:
        return []
    form, limit = text_vectors.dense(text), max(_CANDIDATES, 3 * most)
    by_terms = _query(client, COLLECTION, _terms(text), _SPARSE, limit)
    by_form = _query(client, COLLECTION, form, _DENSE, limit)
    points = {point.id: point for point in (*by_terms, *by_form)}
    modelled = _modelled(client, text, limit, embeddings)
    points |= {point.id: point for point in modelled if point.id not in points}
    shares = _shares(by_terms)
    forms = {point.id: point.score for point in by_form}
    meanings = {point.id: point.score for point in modelled}
    found = []
    for id, point in points.items():
        case = _read(point)
        if case is None:
            continue
        own = forms.get(id)
        if own is None:  # found by its terms, or by the model
            own = text_vectors.similarity(form, text_vectors.dense(case.text))
        meaning = meanings.get(id)
        if own < LEAST_SIMILARITY and (meaning is None or meaning < least_model_similarity):
            continue
        likeness = round(min(max(own if meaning is None else meaning, 0.0), 1.0), 2)
        score = round((shares.get(id, 0.0) + likeness) / 2, 4)
        found.append(Recalled(case=case, score=score, likeness=likeness))
    found.sort(key=lambda r: (-r.score, r.case.cluster != cluster, r.case.incident_id))
    return found[:most]


def _shares(points: list[ScoredPoint]) -> dict[Any, float]:
    """Each sparse score as a share of the best: alone it has no bound."""
    best = max((point.score for point in points), default=0.0)
    return {point.id: max(0.0, point.score) / best for point in points} if best > 0 else {}


def _query(
    client: QdrantClient, collection: str, query: list[float] | SparseVector, using: str, limit: int
) -> list[ScoredPoint]:
    answer = client.query_points(
        collection, query=query, using=using, query_filter=_verified(), limit=limit, with_payload=True
    )
    return list(answer.points)


def _verified() -> Filter:
    from qdrant_client import models

    return models.Filter(must=[models.FieldCondition(key="verified", match=models.MatchValue(value=True))])


def _modelled(
    client: QdrantClient, text: str, limit: int, embeddings: EmbeddingEndpoint | None
) -> list[ScoredPoint]:
    if embeddings is None:
        return []
    vector = _of_model(embeddings, text)
    name = f"{COLLECTION}_{embeddings.space}"
    if vector is None or not client.collection_exists(name):
        return []
    return _query(client, name, vector, _DENSE, limit)


def _read(point: ScoredPoint) -> Case | None:
    try:
        return Case.model_validate(point.payload)
    except ValidationError as error:
        MEMORY_FAILURES.labels(operation="payload").inc()
        _log.warning(
            "a remembered case cannot be read and is skipped", point=str(point.id), error=error.title
        )
        return None
