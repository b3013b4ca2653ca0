"""Reading for one investigation: every answer once, every failure a gap, secrets dropped on arrival."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import TypeVar

from activities.reads import Backend, Reads
from cortexops.domain.errors import CortexError, Forbidden, InvalidInput, NotFound, Rejected
from cortexops.domain.evidence import Gap, GapReason
from cortexops.domain.kubernetes import delivery, meta, pods
from cortexops.domain.kubernetes.certificates import validity
from cortexops.domain.kubernetes.refusals import Refusal, refusal
from cortexops.domain.kubernetes.values import mapping, moment, number, text
from cortexops.domain.outgoing import Destination, outgoing
from cortexops.domain.resource import JSON, KINDS, ResourceRef
from cortexops.domain.scene import EventFact, LogExcerpt, Measure, Scene
from cortexops.domain.signal import Signal
from cortexops.domain.topology import Edge, Relation, Topology, topology
from cortexops.metrics import count_masked

__all__ = ["MOST_LISTED", "Backend", "Gathering", "Reads", "event_fact", "slim"]

MOST_LISTED = 500
"""Objects of one kind that one investigation reads: one page, so one request."""
_MOST_EVENTS_KEPT = 200
_LONGEST_LINE = 2000  # characters
_LOG_LINES = 200
_LONGEST_MESSAGE = 8192  # characters
_MOST_KEYS = 20
_LARGEST_CERTIFICATE = 65_536  # characters of base64

T = TypeVar("T")


class Gathering:
    """What has been collected around one target so far. Collectors add to it."""

    def __init__(self, reads: Reads, target: ResourceRef, signals: Iterable[Signal] = ()) -> None:
        self.target = target
        self.signals = tuple(signals)
        self.roots: list[ResourceRef] = []
        """The workloads (or the node) that the target stands for, found first."""
        self.objects: dict[str, JSON] = {}
        self.events_cut: set[str] = set()
        """Namespaces whose events did not fit into one page: there, ask by object."""
        self._reads = reads
        self._edges: dict[Edge, None] = {}
        self._events: dict[tuple[str, str, str, str], EventFact] = {}
        self._logs: dict[tuple[str, str, bool], LogExcerpt] = {}
        self._gaps: dict[tuple[GapReason, str], Gap] = {}
        self._measured: list[Measure] = []

    # -- reading -----------------------------------------------------------------------------------

    async def get(self, kind: str, namespace: str, name: str, *, required: bool = False) -> JSON | None:
        """One object, kept in the scene; None (and a gap, where that tells something) when it is not there."""
        what = _getting(kind, namespace, name)
        key = ("get", kind, namespace, name)
        obj = await self._ask(key, what, lambda: self._one(kind, namespace, name), missing=required)
        return None if obj is None else self.keep(kind, obj)

    def unread(self, kind: str, namespace: str, name: str) -> bool:
        """Whether it was asked for and no answer says that it is there, or that it is not."""
        what = _getting(kind, namespace, name)
        return any(
            gap.what == what and reason is not GapReason.NO_DATA for (reason, _), gap in self._gaps.items()
        )

    def forbidden_list(self, kind: str, namespace: str = "") -> bool:
        """Whether the objects of the kind were asked for there, and may not be read."""
        return (GapReason.FORBIDDEN, _listing(kind, namespace)) in self._gaps

    async def _one(self, kind: str, namespace: str, name: str) -> JSON:
        """The object, from a list where single ones may not be read. A list of Secrets would give too much."""
        try:
            return await self._reads.cluster.get(kind, namespace, name)
        except (Forbidden, Rejected) as error:
            if kind == "Secret":
                raise
            try:
                found = await self._reads.cluster.list(
                    kind, namespace, fields=f"metadata.name={name}", most=MOST_LISTED
                )
            except CortexError:
                raise error from None
        for obj in found.items:
            if meta.name(obj) == name:
                return obj
        raise NotFound(f"{kind} {name} is not in the list")

    async def listing(
        self,
        kind: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        most: int = MOST_LISTED,
        optional: bool = False,
    ) -> list[JSON]:
        """Objects of a kind in one request; a gap tells when there were more. They are not kept by this.
        That a server knows no kind which is `optional` is no gap."""
        what = _listing(kind, namespace)
        key = ("list", kind, namespace, labels, fields)
        found = await self._ask(
            key,
            what,
            lambda: self._reads.cluster.list(
                kind, namespace, labels=labels, fields=fields, limit=most, most=most
            ),
            quiet=(InvalidInput, NotFound) if optional else (),
        )
        if found is None:
            return []
        if found.cut:
            if kind == "Event":
                self.events_cut.add(namespace)
            else:
                self.gap(GapReason.CUT, what, f"only the first {most} were read")
        return list(found.items)

    async def log(self, pod: ResourceRef, container: str, *, previous: bool) -> bool:
        """The last lines of a container, masked, kept in the scene; whether there were any."""
        what = f"get pods/log in namespace {pod.namespace}"
        key = ("log", pod.key, container, str(previous))
        found = await self._ask(
            key,
            what,
            lambda: self._reads.cluster.logs(
                pod.namespace, pod.name, container, previous=previous, tail_lines=_LOG_LINES
            ),
            quiet=(
                InvalidInput,
                NotFound,
                Rejected,
            ),  # no such run: the container has not started, or only once
        )
        if not found or not found.strip():
            return False
        self.add_log(pod, container, previous=previous, text=found)
        return True

    def add_log(self, pod: ResourceRef, container: str, *, previous: bool, text: str) -> None:
        """Put the last lines of a container into the scene, masked, without what cannot be printed."""
        lines = tuple(
            "".join(c if c.isprintable() or c == "\t" else " " for c in line[: 2 * _LONGEST_LINE])
            for line in text.splitlines()[-_LOG_LINES:]
            if line.strip()
        )
        masked = self.masked("\n".join(lines))
        cut = tuple(
            line[:_LONGEST_LINE] for line in masked.split("\n")
        )  # not before: half a token is no token
        self._logs[pod.key, container, previous] = LogExcerpt(
            pod=pod, container=container, previous=previous, lines=cut
        )

    def masked(self, text: str) -> str:
        """The text without secrets, those included that were read or seen so far. Raises `Withheld`."""
        return outgoing(text, Destination.REPORT, count=count_masked, known=self._reads.secrets)

    # -- telemetry beside the API server -------------------------------------------------------------

    def backend(self, name: str) -> Backend | None:
        """The telemetry server of that name, when one is configured."""
        return self._reads.backends.get(name)

    async def query(self, backend: Backend, what: str, path: str, query: dict[str, str]) -> JSON | None:
        """One answer; None and a gap of ERROR or FORBIDDEN, named by `what`, when there is none."""
        key = ("query", backend.name, path, *(f"{name}={value}" for name, value in sorted(query.items())))
        return await self._ask(key, what, lambda: backend.get(path, query), refused=GapReason.ERROR)

    def measure(self, found: Measure) -> None:
        self._measured.append(found)

    def no_data(self, what: str) -> None:
        """It was asked for, the answer came, and there is nothing of it."""
        self.gap(GapReason.NO_DATA, what, "an answer came, with nothing in it")

    async def _ask(
        self,
        key: tuple[str, ...],
        what: str,
        call: Callable[[], Awaitable[T]],
        *,
        missing: bool = False,
        quiet: tuple[type[CortexError], ...] = (),
        refused: GapReason = GapReason.NO_DATA,
    ) -> T | None:
        try:
            return await self._reads.once(key, call)
        except Forbidden as error:
            self.gap(GapReason.FORBIDDEN, what, str(error))
        except NotFound as error:
            if missing and not isinstance(error, quiet):
                self.gap(GapReason.NO_DATA, what, str(error))
        except InvalidInput as error:  # a kind that this server does not serve, or a name that cannot be one
            if not isinstance(error, quiet):
                self.gap(refused, what, str(error))
        except CortexError as error:
            if not isinstance(error, quiet):
                self.gap(GapReason.ERROR, what, str(error))
        return None

    # -- adding ------------------------------------------------------------------------------------

    def ref(self, kind: str, namespace: str, name: str) -> ResourceRef:
        return ResourceRef(cluster=self.target.cluster, kind=kind, namespace=namespace, name=name)

    def keep(self, kind: str, obj: JSON) -> JSON:
        """Put an object into the scene, without what is secret or only large."""
        self._reads.secrets.learn({"kind": kind} | obj)
        obj = slim(kind, {"kind": kind} | obj)
        ref = meta.ref_of(self.target.cluster, kind, obj)
        if ref.name:
            self.objects[ref.key] = obj
            self._reads.secrets.spare(ref.name)
            self._reads.secrets.spare(ref.namespace)
        return obj

    def find(self, ref: ResourceRef) -> JSON | None:
        return self.objects.get(ref.key)

    def connect(self, source: ResourceRef, relation: Relation, target: ResourceRef) -> None:
        self._edges.setdefault(Edge(source=source, relation=relation, target=target))

    def connected(self, source: ResourceRef, *relations: Relation) -> list[ResourceRef]:
        return [e.target for e in self._edges if e.source == source and e.relation in relations]

    def selecting(self, workload: ResourceRef) -> list[ResourceRef]:
        """The Services that select the workload."""
        return [e.source for e in self._edges if e.target == workload and e.relation is Relation.SELECTS]

    def pods_of(self, workload: ResourceRef) -> list[tuple[ResourceRef, JSON]]:
        """The pods collected for a workload."""
        found: list[tuple[ResourceRef, JSON]] = []
        for ref in [workload, *self.scene_topology().descendants(workload)]:
            obj = self.find(ref)
            if ref.kind == "Pod" and obj is not None:
                found.append((ref, obj))
        return found

    def scene_topology(self) -> Topology:
        return topology(self._edges)

    @property
    def logs(self) -> list[LogExcerpt]:
        return list(self._logs.values())

    def of_kind(self, kind: str) -> list[tuple[ResourceRef, JSON]]:
        """The objects of the kind that are in the scene so far."""
        found = []
        for key, obj in self.objects.items():
            cluster, namespace, its_kind, name = key.split(":", 3)
            if its_kind == kind:
                found.append((ResourceRef(cluster=cluster, kind=kind, namespace=namespace, name=name), obj))
        return found

    def refusals(self, workloads: Iterable[ResourceRef] = ()) -> list[Refusal]:
        """Why pods of these workloads, else of the target's, were not created, as conditions and events tell."""
        asked = list(workloads) or self.roots
        said: dict[str, None] = {}
        for root in asked:
            for ref in [root, *self.scene_topology().descendants(root)]:
                failure = meta.condition(self.find(ref) or {}, "ReplicaFailure")
                if failure.status == "True":
                    said.setdefault(failure.message)
        for edge in self._edges:  # why what delivers them failed
            if edge.target in asked and edge.source.kind in delivery.KINDS:
                failed = delivery.failure(edge.source.kind, self.find(edge.source) or {})
                said.update({failed.message: None} if failed is not None else {})
        stems = tuple(f"{root.name}-" for root in asked)
        for event in self._events.values():
            own = event.about in asked or event.about.name.startswith(stems)
            if event.reason in ("FailedCreate", "FailedCreatePod") and own:
                said.setdefault(event.message)
        return [refusal(message) for message in said]

    @property
    def events(self) -> list[EventFact]:
        return list(self._events.values())

    def gap(self, reason: GapReason, what: str, detail: str = "") -> None:
        self._gaps.setdefault(
            (reason, what), Gap(reason=reason, what=what, detail=self.masked(detail[:600])[:300])
        )

    def add_event(self, event: JSON) -> None:
        fact = event_fact(self.target.cluster, event)
        if fact is not None:
            key = (fact.about.key, fact.reason, fact.message, text(event, "metadata", "name"))
            self._events[key] = fact

    def _last_words(self) -> list[LogExcerpt]:
        """Termination messages of containers whose log was not had: the kubelet keeps the end of it there."""
        heard = {(log.pod.key, log.container) for log in self._logs.values()}
        found = []
        for ref, pod in self.of_kind("Pod"):
            for state in pods.container_states(pod):
                final = state.final
                if final is None or not final.message or (ref.key, state.name) in heard:
                    continue
                lines = tuple(
                    line[:_LONGEST_LINE]
                    for line in self.masked(final.message[:_LONGEST_MESSAGE]).split("\n")
                    if line.strip()
                )
                found.append(
                    LogExcerpt(pod=ref, container=state.name, previous=state.ended is None, lines=lines)
                )
        return found

    def _without_known(self, log: LogExcerpt) -> LogExcerpt:
        """Once more with the secrets that were read after the log was."""
        text, number = self._reads.secrets.mask("\n".join(log.lines))
        if not number:
            return log
        count_masked("known_secret", number)
        return log.model_copy(update={"lines": tuple(text.split("\n"))})

    def scene(self, *, environment: str, now: datetime, onset: datetime) -> Scene:
        """Everything collected up to now."""
        stems = tuple(f"{root.name}-" for root in self.roots if root.kind != "Node")
        events = [
            fact
            for fact in self._events.values()
            if fact.about.key in self.objects
            or fact.about == self.target
            or (fact.about.name.startswith(stems) and fact.about.kind in ("Pod", "ReplicaSet", "Job"))
        ]
        events.sort(key=lambda e: (e.type != "Warning", -(e.last.timestamp() if e.last else 0.0)))
        masked = [
            fact.model_copy(update={"message": self.masked(fact.message)})
            for fact in events[:_MOST_EVENTS_KEPT]
        ]
        return Scene(
            cluster=self.target.cluster,
            environment=environment,
            target=self.target,
            now=now,
            onset=onset,
            signals=self.signals,
            objects=dict(self.objects),
            topology=self.scene_topology(),
            events=tuple(masked),
            logs=(*map(self._without_known, self._logs.values()), *self._last_words()),
            gaps=tuple(self._gaps.values()),
            measured=tuple(self._measured),
        )


def _plural(kind: str) -> str:
    if kind not in KINDS:
        return kind.lower()
    known = KINDS[kind]
    return f"{known.plural}.{known.group}" if known.brought else known.plural


def _listing(kind: str, namespace: str) -> str:
    return f"list {_plural(kind)}" + (f" in namespace {namespace}" if namespace else "")


def _getting(kind: str, namespace: str, name: str) -> str:
    return f"get {_plural(kind)}/{name}" + (f" in namespace {namespace}" if namespace else "")


def slim(kind: str, obj: JSON) -> JSON:
    """The object without a Secret's values, and without bookkeeping of kinds that exist by the thousand."""
    slimmed = dict(obj)
    if kind == "Secret":
        slimmed.pop("stringData", None)
        slimmed["certificates"] = _certificates(mapping(obj, "data"))
        slimmed["data"] = dict.fromkeys(mapping(obj, "data"), "")
        metadata = dict(mapping(obj, "metadata"))
        metadata["annotations"] = {
            key: value for key, value in mapping(metadata, "annotations").items() if "last-applied" not in key
        }
        slimmed["metadata"] = metadata
    elif kind == "Pod":
        slimmed["metadata"] = {k: v for k, v in mapping(obj, "metadata").items() if k != "managedFields"}
    elif kind == "Node":
        slimmed["metadata"] = {k: v for k, v in mapping(obj, "metadata").items() if k != "managedFields"}
        slimmed["status"] = {k: v for k, v in mapping(obj, "status").items() if k != "images"}
    return slimmed


def _certificates(data: JSON) -> dict[str, JSON]:
    """For each key that holds a certificate: its dates and names, which are no secret."""
    found: dict[str, JSON] = {}
    for key, value in list(data.items())[:_MOST_KEYS]:
        if not str(key).endswith((".crt", ".pem", ".cert")) or not isinstance(value, str):
            continue
        try:
            its = validity(base64.b64decode(value[:_LARGEST_CERTIFICATE]).decode("ascii", errors="replace"))
        except ValueError:
            continue
        if its is not None:
            found[str(key)] = {
                "notBefore": its.since.isoformat(), "notAfter": its.until.isoformat(), "names": list(its.names)
            }  # fmt: skip
    return found


def event_fact(cluster: str, event: JSON) -> EventFact | None:
    """A core/v1 Event, old or new style of counting, as a fact."""
    about = mapping(event, "involvedObject")
    if not text(about, "name") or not text(about, "kind"):
        return None
    kind = text(about, "kind")
    namespaced = KINDS[kind].namespaced if kind in KINDS else True
    born = moment(event, "metadata", "creationTimestamp")
    first = moment(event, "firstTimestamp") or moment(event, "eventTime") or born
    last = moment(event, "lastTimestamp") or moment(event, "series", "lastObservedTime") or first
    return EventFact(
        about=ResourceRef(
            cluster=cluster,
            kind=kind,
            namespace=text(about, "namespace") if namespaced else "",
            name=text(about, "name"),
        ),
        type=text(event, "type"),
        reason=text(event, "reason"),
        message=text(event, "message"),
        count=max(number(event, "count"), number(event, "series", "count"), 1),
        first=first,
        last=last,
    )
