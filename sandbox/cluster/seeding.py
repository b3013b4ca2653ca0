"""Objects with a past: created and changed in the store at times gone by, by named field managers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from cortexops.domain.errors import InvalidInput
from cortexops.domain.resource import JSON
from sandbox.cluster.controllers.clock import parse_stamp, stamp
from sandbox.cluster.controllers.deployment import replica_set_for
from sandbox.cluster.controllers.objects import random_suffix
from sandbox.cluster.controllers.pods import pod_from_template
from sandbox.cluster.controllers.rollout import REVISION, replicas_of
from sandbox.cluster.kinds import BY_KIND, Resource
from sandbox.cluster.store import Store
from sandbox.cluster.verbs import Options, Verbs
from sandbox.scenarios.schema import History, Revision
from sandbox.scenarios.templates import span

_MERGE = "application/merge-patch+json"
_CONTROLLERS = Options("kube-controller-manager")


class Seeder:
    """Writes past the HTTP layer. Every call runs to its end on the event loop.

    `nodes` are those that seeded pods may be on. Raises `ApiError` where the API server would refuse.
    """

    def __init__(self, store: Store, nodes: list[str]) -> None:
        self._now: datetime | None = None
        self._verbs = Verbs(store, self._time)
        self._nodes = nodes
        self._turn = 0

    def create(self, obj: JSON, manager: str = "helm") -> JSON:
        """Create at `metadata.creationTimestamp`, with the status that is given."""
        resource = _resource(obj["kind"])
        body = copy.deepcopy(obj)
        when, status = body["metadata"].pop("creationTimestamp", None), body.pop("status", None)
        with self._at(parse_stamp(when) if when else datetime.now(UTC)):
            made = self._verbs.create(resource, body["metadata"].get("namespace", ""), body, Options(manager))
            return self._report(resource, made, status) if status else made

    def edit(
        self, kind: str, namespace: str, name: str, patch: JSON, *, manager: str, when: datetime
    ) -> JSON:
        """Merge-patch at a time gone by."""
        with self._at(when):
            return self._verbs.patch(_resource(kind), namespace, name, _MERGE, patch, Options(manager))

    def deployment(self, obj: JSON, history: History | None) -> list[JSON]:
        """A Deployment that has run for a while, with its ReplicaSets and pods; answers the pods."""
        age = obj["metadata"].get("creationTimestamp") or stamp(datetime.now(UTC))
        revisions = (
            history.revisions
            if history
            else (Revision(revision=1, age=f"{_whole_seconds(datetime.now(UTC) - parse_stamp(age))}s"),)
        )
        body = copy.deepcopy(obj)
        body["metadata"].setdefault("annotations", {})[REVISION] = str(revisions[-1].revision)
        owner = self.create(body)
        pods: list[JSON] = []
        for revision in revisions:
            current = revision is revisions[-1]
            since = datetime.now(UTC) - span(revision.age)
            made = self._replica_set(owner, revision, since, replicas_of(owner) if current else 0)
            if current:
                nodes = history.nodes if history and history.nodes else ()
                pods = [self._pod(made, since, nodes) for _ in range(replicas_of(owner))]
                with self._at(since):
                    self._report(BY_KIND["Deployment"], owner, _deployment_status(owner, made, since))
        return pods

    def _replica_set(self, owner: JSON, revision: Revision, since: datetime, replicas: int) -> JSON:
        template = copy.deepcopy(owner["spec"]["template"])
        for container in template["spec"]["containers"]:
            container["image"] = revision.images.get(container["name"], container["image"])
        body = replica_set_for(owner, str(revision.revision), template)
        body["spec"]["replicas"] = replicas
        resource = BY_KIND["ReplicaSet"]
        with self._at(since):
            made = self._verbs.create(resource, body["metadata"]["namespace"], body, _CONTROLLERS)
            counts = dict.fromkeys(
                ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"), replicas
            )
            return self._report(resource, made, {**counts, "observedGeneration": 1})

    def _pod(self, owner: JSON, since: datetime, nodes: tuple[str, ...]) -> JSON:
        choice = list(nodes) or self._nodes
        self._turn += 1
        name = f"{owner['metadata']['name']}-{random_suffix()}"
        body = pod_from_template(owner, "apps/v1", "ReplicaSet", owner["spec"]["template"], name)
        body["spec"]["nodeName"] = choice[self._turn % len(choice)]
        with self._at(since):
            return self._verbs.create(BY_KIND["Pod"], body["metadata"]["namespace"], body, _CONTROLLERS)

    def _report(self, resource: Resource, obj: JSON, status: JSON) -> JSON:
        meta = obj["metadata"]
        where = (meta.get("namespace", ""), meta["name"])
        return self._verbs.patch(resource, *where, _MERGE, {"status": status}, _CONTROLLERS, "status")

    @contextmanager
    def _at(self, when: datetime) -> Iterator[None]:
        self._now = when
        try:
            yield
        finally:
            self._now = None

    def _time(self) -> datetime:
        return self._now or datetime.now(UTC)


def _resource(kind: str) -> Resource:
    if kind not in BY_KIND:
        raise InvalidInput("kind", f"the simulated cluster does not serve {kind!r}")
    return BY_KIND[kind]


def _whole_seconds(age: timedelta) -> int:
    return max(0, int(age.total_seconds()))


def _deployment_status(owner: JSON, replica_set: JSON, since: datetime) -> JSON:
    wanted, when = replicas_of(owner), stamp(since)
    name = replica_set["metadata"]["name"]
    verdicts = (
        ("Available", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        ("Progressing", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'),
    )
    return {
        "observedGeneration": owner["metadata"].get("generation", 1),
        **dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), wanted),
        "conditions": [
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastUpdateTime": when,
                "lastTransitionTime": owner["metadata"]["creationTimestamp"],
            }
            for kind, reason, message in verdicts
        ],
    }
