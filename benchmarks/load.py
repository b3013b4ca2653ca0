"""Alert storms as they happen, from a seed, with the truth about them declared.

A cause is a workload that breaks or a node that fails. Its alerts come staggered (the node, then its pods, then
their services), of many series (pod hashes, uids, containers, instances), unevenly many per workload, some sent
again as Alertmanager does each group interval, some late and out of order, some resolved. The same arguments
give the same storm on every machine.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal, NamedTuple

import msgspec

BEGAN = datetime(2026, 1, 5, 3, 12, tzinfo=UTC)
GROUP_INTERVAL = 15.0
"""Seconds after which the sender repeats a group that still fires."""

_SAFE = "bcdfghjklmnpqrstvwxz2456789"  # the letters of the suffixes that Kubernetes generates
_SERVICES = (
    "checkout", "payment", "catalog", "search", "cart", "ledger", "mailer", "profile", "pricing", "orders",
    "media", "auth", "geo", "stock", "invoice", "quota", "feed", "webhook", "report", "session",
)  # fmt: skip
_PARTS = ("api", "worker", "gateway", "indexer", "scheduler", "cache", "consumer", "frontend")
_CLUSTERS = ("eu-west-1a", "us-east-1b", "ap-south-1c")
_NAMESPACES = 24
_PROMETHEUS = "monitoring/prometheus-operated"
_NEVER = "0001-01-01T00:00:00Z"


class Rule(NamedTuple):
    """One alerting rule. `scope` says which labels its series carry."""

    name: str
    severity: str
    scope: Literal["pod", "container", "request", "deployment", "node", "service"]
    says: str


_WORKLOAD_RULES = (
    Rule("KubePodCrashLooping", "critical", "container", "keeps crashing and is restarted with a delay"),
    Rule("KubePodNotReady", "warning", "pod", "has been in a non-ready state for longer than 15 minutes"),
    Rule("KubeContainerWaiting", "warning", "container", "has been waiting for longer than an hour"),
    Rule("ContainerMemoryNearLimit", "warning", "container", "uses more than 90% of its memory limit"),
    Rule("HttpErrorRateHigh", "critical", "request", "answers more than 5% of its requests with an error"),
    Rule("HttpLatencyP99High", "warning", "request", "takes longer than 2 s for one request in a hundred"),
    Rule("CPUThrottlingHigh", "info", "container", "is throttled in more than a quarter of its periods"),
    Rule("KubeDeploymentReplicasMismatch", "warning", "deployment", "has not the replicas it should have"),
)
_NODE_RULE = Rule("KubeNodeNotReady", "critical", "node", "has been unready for a long time")
_NODE_POD_RULES = tuple(rule for rule in _WORKLOAD_RULES if rule.scope in {"pod", "container"})
_SERVICE_RULE = Rule("ServiceErrorBudgetBurn", "critical", "service", "burns its error budget too fast")
_CONTAINERS = ("app", "proxy", "metrics")
_HANDLERS = ("/", "/v1/items", "/v1/items/:id", "/v1/search", "/healthz", "/v2/batch")


class Workload(NamedTuple):
    """A Deployment."""

    cluster: str
    namespace: str
    name: str

    @property
    def key(self) -> str:
        """The incident key of alerts about its pods and about itself."""
        return f"incident:{self.cluster}:{self.namespace}:Deployment:{self.name}"


@dataclass(frozen=True)
class Cause:
    """What really went wrong. `node` is empty where a single workload broke by itself."""

    number: int
    workloads: tuple[Workload, ...]
    node: str
    begins: float  # seconds after the storm began


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as a sender posts it at `at` seconds; `resolved` tells of the end of what began the same."""

    cause: int
    at: float
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: datetime
    generator: str
    fingerprint: str
    ends_at: datetime | None = None

    @property
    def identity(self) -> tuple[str, datetime, bool]:
        """Equal for the repeats of one report, different for everything else."""
        return self.fingerprint, self.starts_at, self.ends_at is not None

    def webhook(self) -> dict[str, Any]:
        """As it stands in the `alerts` of a webhook, version 4."""
        return {
            "status": "resolved" if self.ends_at else "firing",
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": _time(self.starts_at),
            "endsAt": _time(self.ends_at) if self.ends_at else _NEVER,
            "generatorURL": self.generator,
            "fingerprint": self.fingerprint,
        }

    def api(self) -> dict[str, Any]:
        """As Prometheus posts it to `/api/v2/alerts`."""
        told: dict[str, Any] = {
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": _time(self.starts_at),
            "generatorURL": self.generator,
        }
        return {**told, "endsAt": _time(self.ends_at)} if self.ends_at else told


@dataclass(frozen=True)
class Storm:
    """Alerts in order of arrival, and the truth about them."""

    alerts: tuple[Alert, ...]
    causes: tuple[Cause, ...]

    @cached_property
    def distinct(self) -> int:
        """Reports that are not repeats of another."""
        return len({alert.identity for alert in self.alerts})

    @property
    def workloads(self) -> frozenset[Workload]:
        return frozenset(workload for cause in self.causes for workload in cause.workloads)

    def batches(self, size: int = 100) -> Iterator[tuple[Alert, ...]]:
        for start in range(0, len(self.alerts), size):
            yield self.alerts[start : start + size]

    def webhooks(self, size: int = 100) -> list[bytes]:
        """Webhook bodies of at most `size` alerts each."""
        return [msgspec.json.encode(webhook(batch)) for batch in self.batches(size)]

    def api_bodies(self, size: int = 100) -> list[bytes]:
        """The same alerts, cut the same way, as bodies of Alertmanager's own API."""
        return [msgspec.json.encode([alert.api() for alert in batch]) for batch in self.batches(size)]


def webhook(alerts: Sequence[Alert], receiver: str = "cortexops") -> dict[str, Any]:
    """The body that Alertmanager posts for these."""
    items = [alert.webhook() for alert in alerts]
    return {
        "version": "4",
        "groupKey": '{}:{severity=~".+"}',
        "truncatedAlerts": 0,
        "status": "firing" if any(item["status"] == "firing" for item in items) else "resolved",
        "receiver": receiver,
        "groupLabels": {},
        "commonLabels": _common([alert.labels for alert in alerts]),
        "commonAnnotations": _common([alert.annotations for alert in alerts]),
        "externalURL": "http://alertmanager.monitoring.svc:9093",
        "alerts": items,
    }


def storm(
    size: int,
    causes: int,
    seed: int,
    *,
    began: datetime = BEGAN,
    nodes: int = 0,
    weights: Sequence[float] | None = None,
    repeated: float = 0.08,
    resolved: float = 0.05,
    late: float = 0.05,
    speed: float = 1.0,
) -> Storm:
    """`size` alerts of `causes` causes, of which the first `nodes` are nodes that fail under several workloads.

    The storm lasts a minute or two, divided by `speed`; times in the alerts are relative to `began`.

    `weights` says how the alerts spread over the causes; without it a few causes have most of them. `repeated`,
    `resolved` and `late` are shares. Every cause has one alert that fires and is neither late nor repeated, so
    `size` must be at least `causes`.
    """
    if not 1 <= causes <= size or nodes > causes or (weights is not None and len(weights) != causes):
        raise ValueError(
            "a storm needs at least one alert a cause, and one weight a cause where any is given"
        )
    rng = random.Random(seed)
    made = _causes(rng, causes, nodes)
    shares = list(weights) if weights is not None else [rng.paretovariate(1.1) for _ in range(causes)]
    counts = [1] * causes
    for chosen in rng.choices(range(causes), weights=shares, k=size - causes):
        counts[chosen] += 1
    alerts: list[Alert] = []
    for cause, count in zip(made, counts, strict=True):
        alerts += _alerts(rng, cause, count, began, repeated, resolved, late)
    if speed != 1.0:
        alerts = [_hastened(alert, began, speed) for alert in alerts]
    alerts.sort(key=lambda alert: alert.at)  # stable, so the same everywhere
    return Storm(tuple(alerts), made)


def _hastened(alert: Alert, began: datetime, speed: float) -> Alert:
    ends = None if alert.ends_at is None else began + (alert.ends_at - began) / speed
    return replace(
        alert, at=alert.at / speed, starts_at=began + (alert.starts_at - began) / speed, ends_at=ends
    )


def _causes(rng: random.Random, causes: int, nodes: int) -> tuple[Cause, ...]:
    made = []
    serial = 0
    for number in range(causes):
        cluster = rng.choice(_CLUSTERS)
        workloads = []
        for _ in range(rng.randint(3, 8) if number < nodes else 1):
            name = f"{rng.choice(_SERVICES)}-{rng.choice(_PARTS)}-{_letters(serial)}"
            workloads.append(Workload(cluster, f"team-{rng.randrange(_NAMESPACES):02d}", name))
            serial += 1
        node = f"ip-10-{number % 250}-{rng.randrange(250)}-{rng.randrange(250)}" if number < nodes else ""
        made.append(Cause(number, tuple(workloads), node, rng.uniform(0, 20)))
    return tuple(made)


def _alerts(
    rng: random.Random,
    cause: Cause,
    count: int,
    began: datetime,
    repeated: float,
    resolved: float,
    late: float,
) -> list[Alert]:
    firing: list[Alert] = []
    made: list[Alert] = []
    ended: dict[str, Alert] = {}
    series = _series(rng, cause, count, began)
    for number in range(count):
        draw = rng.random()
        if number and draw < repeated:
            first = rng.choice(firing)
            again = replace(first, at=first.at + GROUP_INTERVAL * rng.randint(1, 4))
            made.append(again)
        elif number and draw < repeated + resolved:
            first = rng.choice(firing)
            after = rng.uniform(20, 90)
            end = replace(first, at=first.at + after, ends_at=first.starts_at + timedelta(seconds=after))
            made.append(ended.setdefault(first.fingerprint, end))  # an end that was told before is told again
        else:
            alert = next(series)
            firing.append(alert)
            if number and rng.random() < late:  # a network that stood still, a sender that queued
                alert = replace(alert, at=alert.at + rng.uniform(10, 60))
            made.append(alert)
    return made


def _series(rng: random.Random, cause: Cause, count: int, began: datetime) -> Iterator[Alert]:
    """Ever new series of one cause, in the order in which they break."""
    if cause.node:
        yield _alert(rng, cause, cause.workloads[0], _NODE_RULE, _Place(node=cause.node), 0.0, began)
    shares = [rng.paretovariate(1.2) for _ in cause.workloads]
    pods: dict[Workload, list[_Place]] = {workload: [] for workload in cause.workloads}
    templates = {workload: _suffix(rng, 10) for workload in cause.workloads}
    seen: set[str] = set()
    while True:
        workload = rng.choices(cause.workloads, weights=shares)[0]
        places = pods[workload]
        # About a dozen series a pod; a big storm is a big deployment, not a pod with a thousand alerts.
        if not places or rng.random() < 0.1:
            node = cause.node or f"ip-10-0-{rng.randrange(40)}-{rng.randrange(250)}"
            places.append(_pod(rng, workload, templates[workload], node))
        # The first alert is about a pod: what a workload's name is must not depend on the draw.
        rule = rng.choice(_NODE_POD_RULES if cause.node else _WORKLOAD_RULES)
        delay = rng.expovariate(1 / 4) + 3
        if cause.node and rng.random() < 0.15:
            rule, delay = _SERVICE_RULE, rng.expovariate(1 / 6) + 12
        alert = _alert(rng, cause, workload, rule, rng.choice(places), delay, began)
        if alert.fingerprint in seen:
            places.append(_pod(rng, workload, templates[workload], places[-1].node))
            continue
        seen.add(alert.fingerprint)
        yield alert


class _Place(NamedTuple):
    node: str
    pod: str = ""
    uid: str = ""
    template: str = ""
    address: str = ""


def _pod(rng: random.Random, workload: Workload, template: str, node: str) -> _Place:
    raw = f"{rng.getrandbits(128):032x}"
    uid = f"{raw[:8]}-{raw[8:12]}-4{raw[13:16]}-a{raw[17:20]}-{raw[20:]}"
    address = f"10.{rng.randrange(64, 128)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    return _Place(node, f"{workload.name}-{template}-{_suffix(rng, 5)}", uid, template, address)


def _alert(
    rng: random.Random,
    cause: Cause,
    workload: Workload,
    rule: Rule,
    place: _Place,
    delay: float,
    began: datetime,
) -> Alert:
    labels = {
        "alertname": rule.name,
        "severity": rule.severity,
        "cluster": workload.cluster,
        "region": workload.cluster.rpartition("-")[0],
        "prometheus": _PROMETHEUS,
        "prometheus_replica": "prometheus-k8s-0",
        "environment": "production",
        "job": "kube-state-metrics",
        "instance": "10.64.3.17:8080",
        "endpoint": "http",
        "rule_group": "kubernetes-apps" if rule.scope != "request" else "service-level",
    }
    if rule.scope == "node":
        labels |= {"node": place.node, "condition": "Ready", "status": "true", "app": place.node}
    else:
        labels |= {
            "namespace": workload.namespace,
            "app": workload.name,
            "team": f"sre-{workload.namespace}",
            "tier": "backend",
        }
    if rule.scope in {"pod", "container", "request"}:
        labels |= {
            "pod": place.pod,
            "uid": place.uid,
            "node": place.node,
            "pod_ip": place.address,
            "pod_template_hash": place.template,
            "service": "kube-state-metrics",
        }
    if rule.scope in {"container", "request"}:
        labels["container"] = rng.choice(_CONTAINERS)
    if rule.scope == "request":
        labels |= {
            "job": workload.name,
            "service": workload.name,
            "instance": f"{place.address}:9100",
            "handler": rng.choice(_HANDLERS),
            "method": rng.choice(("GET", "POST")),
        }
    if rule.scope == "deployment":
        labels |= {"deployment": workload.name, "revision": str(rng.randint(1, 400))}
    if rule.scope == "service":
        labels |= {"service": workload.name, "long": "1h", "short": "5m", "job": workload.name}
    where = place.pod or place.node
    starts = began + timedelta(milliseconds=int(1000 * (cause.begins + delay)))
    return Alert(
        cause=cause.number,
        at=cause.begins + delay + rng.uniform(0, 2),
        labels=labels,
        annotations={
            "summary": f"{where or workload.name} {rule.says}.",
            "description": (
                f"{workload.namespace}/{where or workload.name} ({labels.get('container', 'all containers')}) "
                f"{rule.says}; value {rng.uniform(0, 100):.4f}, on {place.node or 'several nodes'}."
            ),
            "runbook_url": f"https://runbooks.example.com/runbooks/kubernetes/{rule.name.lower()}",
            "dashboard_url": (
                f"https://grafana.example.com/d/a164a7f0339f99e89cea5cb47e9be617/workload?var-cluster="
                f"{workload.cluster}&var-namespace={workload.namespace}&var-workload={workload.name}"
            ),
        },
        starts_at=starts,
        generator=(
            "http://prometheus-k8s-0:9090/graph?g0.expr=max_over_time%28kube_pod_container_status_waiting_reason"
            f"%7Bnamespace%3D%22{workload.namespace}%22%7D%5B5m%5D%29+%3E%3D+1&g0.tab=1"
        ),
        fingerprint=_fingerprint(labels),
    )


def _fingerprint(labels: dict[str, str]) -> str:
    joined = "\xff".join(f"{name}\xfe{labels[name]}" for name in sorted(labels))
    return hashlib.blake2b(joined.encode(), digest_size=8).hexdigest()


def _common(of: Sequence[dict[str, str]]) -> dict[str, str]:
    first, *others = of
    return {name: text for name, text in first.items() if all(other.get(name) == text for other in others)}


def _suffix(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(_SAFE, k=length))


def _letters(number: int) -> str:
    """A short name for a number with vowels in it, so that it is never taken for a generated suffix."""
    text = ""
    while True:
        number, digit = divmod(number, 5)
        text = "aeiou"[digit] + text
        if not number:
            return f"x{text}"


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
