"""APIs whose server is not there: a namespace that is being removed waits until it is known what of them it holds."""

from __future__ import annotations

from activities.analyzers import analyzer
from cortexops.domain.citing import cite_condition, support
from cortexops.domain.diagnosis import Category, Hypothesis
from cortexops.domain.evidence import EvidenceBook
from cortexops.domain.findings import Subject
from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.aggregation import is_dead, serves, undiscovered
from cortexops.domain.kubernetes.values import text
from cortexops.domain.resource import JSON, ResourceRef
from cortexops.domain.scene import Scene

_EXPLAINS = (Category.NAMESPACE_TERMINATING, Category.BAD_ROLLOUT, Category.SCHEDULING)


@analyzer("api_services")
def analyze(scene: Scene, book: EvidenceBook) -> list[Hypothesis]:
    found: list[Hypothesis] = []
    for namespace, live in scene.of_kind("Namespace"):
        for group, version in undiscovered(live):
            for ref, api in scene.of_kind("APIService"):
                if serves(api, group, version) and is_dead(api):
                    found.append(_of(scene, book, namespace, live, ref, api))
    return found


def _of(
    scene: Scene, book: EvidenceBook, namespace: ResourceRef, live: JSON, ref: ResourceRef, api: JSON
) -> Hypothesis:
    available = meta.condition(api, "Available")
    where = (text(api, "spec", "service", "namespace"), text(api, "spec", "service", "name"))
    service = scene.ref("Service", *where) if all(where) else None
    asked = meta.deleting_since(live)
    before = available.since is not None and asked is not None and available.since <= asked
    who = f", which {service} serves," if service is not None else ""
    why = ": ".join(part for part in (available.reason, available.message[:160]) if part)
    facts = {"namespace": namespace.name, "service": f"{where[0]}/{where[1]}" if service is not None else ""}
    return Hypothesis(
        resource=ref,
        category=Category.DEPENDENCY_DOWN,
        summary=f"{ref}{who} is not available ({why or 'Available=False'}): {namespace} cannot be removed until it"
        " is known what of that API it holds",
        support=support(Subject(namespace, live, ()), 1.0, precedes=True if before else None, steps=1),
        evidence=(
            cite_condition(book, ref, available),
            cite_condition(book, namespace, meta.condition(live, "NamespaceDeletionDiscoveryFailure")),
        ),
        explains=_EXPLAINS,
        facts={key: value for key, value in facts.items() if value},
    )
