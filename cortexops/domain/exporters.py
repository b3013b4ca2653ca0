"""What a scrape job, a pod or a Service is for: exporters tell of a node, of what they probe, or of others.

An alert that names its object only by the address that was scraped is about whatever answers there, unless
that is an exporter: then it is about what the exporter tells of. The words here are the names under which the
exporters are shipped; what is not known is taken for a program that tells of itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache


class Role(StrEnum):
    """Of whom metrics tell."""

    ITSELF = "itself"  # the program that was scraped
    NODE = "node"  # an agent: of the node on which it runs
    KUBELET = "kubelet"  # of its node, and of the pods and containers there
    PROBER = "prober"  # of the address that it was sent to, which stands in `instance`
    OTHERS = "others"  # of objects that other labels name
    EXPORTER = "exporter"  # of a program beside it or elsewhere


_AGENTS = re.compile(
    r"(^|-)(node-?exporter|windows-exporter|dcgm-exporter|smartctl-exporter|process-exporter"
    r"|node-problem-detector)(-|$)"
)
_PROBERS = re.compile(
    r"(^|-)(blackbox|snmp-exporter|snmp|ping-exporter|smokeping|ssl-exporter|cloudprober)(-|$)"
)
_OTHERS = re.compile(
    r"(^|-)(kube-state-metrics|ksm|push-?gateway|prom-aggregation-gateway|cloudwatch-exporter|yace"
    r"|stackdriver-exporter|statsd-exporter|graphite-exporter|event-exporter|opencost|kubecost|federate"
    r"|thanos-[a-z]+|vmagent|vmsingle|vmalert|otel-collector|opentelemetry-collector|grafana-agent|telegraf"
    r"|custom-metrics|prometheus-adapter)(-|$)|(^|-)(prometheus|federation)(-server|-k8s|-operated|-\d+)?$"
)
_EXPORTER = re.compile(r"(^|-)exporter(-|$)|exporter$")
_NODE_JOBS = frozenset({"node", "nodes"})
_KUBELET_JOBS = re.compile(r"^(.*-)?(kubelet|cadvisor)$|^kubernetes-nodes(-.*)?$")
_HELPERS = re.compile(
    r"^(kube-rbac-proxy|.*config-?reloader|configmap-reload|oauth2-proxy|istio-proxy|proxyv2|linkerd-proxy"
    r"|proxy-agent|vault-agent)$"
)
_BLACKBOX_PORT = 9115


@lru_cache(4096)
def role_of(word: str) -> Role:
    """The role behind the name of a program: an image, an `app` label, a Service."""
    plain = word.strip().lower().replace("_", "-")
    for pattern, role in ((_AGENTS, Role.NODE), (_PROBERS, Role.PROBER), (_OTHERS, Role.OTHERS)):
        if pattern.search(plain):
            return role
    return Role.EXPORTER if _EXPORTER.search(plain) else Role.ITSELF


@lru_cache(4096)
def role_of_job(job: str) -> Role:
    """The role behind a scrape job: as configured, or `namespace/name` and `kind/namespace/name/0` as the
    Prometheus operator makes them."""
    parts = [part for part in job.strip().lower().replace("_", "-").split("/") if part and not part.isdigit()]
    name = parts[-1] if parts else ""
    if name in _NODE_JOBS:
        return Role.NODE
    return Role.KUBELET if _KUBELET_JOBS.match(name) else role_of(name)


def role_of_images(images: Iterable[str], names: Iterable[str] = ()) -> Role:
    """The role of a pod by the images of its containers, helpers left out, and by names that labels give it.

    An exporter beside the program of which it tells makes the pod that program's: `ITSELF`.
    """
    programs = [name for image in images if not _HELPERS.match(name := _program(image))]
    roles = {role_of(program) for program in programs}
    if Role.ITSELF in roles and len(programs) > 1:
        return Role.ITSELF
    roles |= {role_of(name) for name in names}  # a mirrored image may be called anything
    for role in (Role.NODE, Role.OTHERS, Role.PROBER, Role.EXPORTER):
        if role in roles:
            return role
    return Role.ITSELF


def _program(image: str) -> str:
    """`node-exporter` of `quay.io/prometheus/node-exporter:v1.7@sha256:…`."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0].lower().replace("_", "-")


_ITSELF = frozenset(
    {"instancedown", "targetdown", "exporterdown", "prometheustargetmissing", "scrapetargetdown"}
)


def is_about_the_target(alert: str) -> bool:
    """Whether an alert of this name says by convention that the scraped target itself does not answer."""
    return alert.lower().replace("_", "").replace("-", "").replace(" ", "") in _ITSELF


def is_own_address(role: Role, port: int | None) -> bool:
    """Whether the address that a job of this role gives is the exporter's own, not that of what it tells of."""
    return role is Role.OTHERS or (role is Role.PROBER and port == _BLACKBOX_PORT)
