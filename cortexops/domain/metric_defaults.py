"""Checks that are asked without any configuration, where the usual exporters are there.

Each says nothing where its metric does not exist: an empty answer and a server that cannot be asked leave it
out of the verdict. Shares of requests are judged only where there were enough of them.
"""

from __future__ import annotations

from cortexops.domain.metric_checks import Match, MetricCheck

_WORKLOADS = Match(kinds=("Deployment", "StatefulSet", "DaemonSet"))
_POD = 'namespace="{{namespace}}",pod=~"{{pods}}"'
_CONTAINER = _POD + ',container!="",container!="POD"'
_MESH = (
    'reporter="destination",destination_workload="{{workload}}",'
    'destination_workload_namespace="{{namespace}}"'
)
_INGRESS = (
    'exported_namespace="{{namespace}}",exported_service="{{service}}"',
    'exported_namespace="",namespace="{{namespace}}",service="{{service}}"',
)
_LEAST_REQUESTS = 10

REQUESTS: dict[str, tuple[str, ...]] = {
    "http_requests_total": (_POD,),
    "http_server_requests_seconds_count": (_POD,),
    "nginx_ingress_controller_requests": _INGRESS,
    "istio_requests_total": (_MESH,),
}
"""Counters of requests, each with the labels by which its series are found."""

_ERRORS_OF = (
    "crash",
    "crash_since_release",
    "bad_rollout",
    "configmap_changed",
    "secret_changed",
    "config_missing",
    "oom_limit_too_low",
    "oom_after_release",
    "memory_leak",
    "readiness_probe",
    "liveness_probe",
    "dependency_down",
    "service_misrouted",
    "scaled_to_zero",
    "scaled_down",
    "stuck_pod",
)
"""Causes that callers see as failing requests: there the share of errors is the trouble itself."""


def rates(metric: str, *selectors: str, range_: str = "rate") -> str:
    """The rates of a metric's series, by any of these labels."""
    return " or ".join(f"{range_}({metric}{{{selector}}}[{{{{range}}}}])" for selector in selectors)


def _errors(name: str, metric: str, codes: tuple[str, ...]) -> MetricCheck:
    """The share of answered requests that ended with a server error."""
    scopes = REQUESTS[metric]
    failed = rates(metric, *(f'{scope},{code}=~"5.."' for scope in scopes for code in codes))
    answered = rates(metric, *(f'{scope},{code}!=""' for scope in scopes for code in codes))
    number = rates(metric, *(f'{scope},{code}!=""' for scope in scopes for code in codes), range_="increase")
    query = f"((sum({failed}) or vector(0)) / sum({answered})) and on() (sum({number}) >= {_LEAST_REQUESTS})"
    return _default(name, query, floor=0.02, own=_ERRORS_OF)


def _latency(name: str, metric: str, scopes: tuple[str, ...], *, floor: float) -> MetricCheck:
    """The time within which 99 of 100 requests were answered."""
    number = rates(metric, *(f'{scope},le="+Inf"' for scope in scopes), range_="increase")
    query = (
        f"histogram_quantile(0.99, sum by (le) ({rates(metric, *scopes)}))"
        f" and on() (sum({number}) >= {_LEAST_REQUESTS})"
    )
    return _default(name, query, floor=floor, factor=1.5)


def _default(
    name: str, query: str, *, floor: float, factor: float = 1.2, own: tuple[str, ...] = ()
) -> MetricCheck:
    return MetricCheck(
        name=name,
        query=query,
        match=_WORKLOADS,
        floor=floor,
        factor=factor,
        own=own,
        on_no_data="ignore",
        required=False,
        initial_delay_seconds=20,
        failure_limit=3,
        inconclusive_limit=3,
    )


DEFAULTS: tuple[MetricCheck, ...] = (
    _errors("http_errors", "http_requests_total", ("code", "status", "status_code")),
    _errors("http_server_errors", "http_server_requests_seconds_count", ("status",)),
    _errors("ingress_errors", "nginx_ingress_controller_requests", ("status",)),
    _errors("mesh_errors", "istio_requests_total", ("response_code",)),
    _latency("http_latency_p99", "http_request_duration_seconds_bucket", (_POD,), floor=0.1),
    _latency("http_server_latency_p99", "http_server_requests_seconds_bucket", (_POD,), floor=0.1),
    _latency(
        "ingress_latency_p99", "nginx_ingress_controller_request_duration_seconds_bucket", _INGRESS, floor=0.1
    ),
    _latency("mesh_latency_p99", "istio_request_duration_milliseconds_bucket", (_MESH,), floor=100),
    _default(
        "cpu_throttled_share",
        f"sum(rate(container_cpu_cfs_throttled_periods_total{{{_CONTAINER}}}[{{{{range}}}}]))"
        f" / sum(rate(container_cpu_cfs_periods_total{{{_CONTAINER}}}[{{{{range}}}}]))",
        floor=0.25,
    ),
    _default(
        "memory_of_limit",
        "max(max by (pod, container)"
        f" (last_over_time(container_memory_working_set_bytes{{{_CONTAINER}}}[{{{{range}}}}]))"
        " / on(pod, container) (max by (pod, container)"
        f" (last_over_time(container_spec_memory_limit_bytes{{{_CONTAINER}}}[{{{{range}}}}])) > 0))",
        floor=0.9,
        factor=1.0,
    ),
    _default(
        "restarts_per_minute",
        f"60 * sum(rate(kube_pod_container_status_restarts_total{{{_POD}}}[{{{{range}}}}]))",
        floor=2,
    ),
)
