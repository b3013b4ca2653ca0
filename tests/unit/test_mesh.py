"""Rules and policies of Istio: what they say, and when they are blamed."""

from __future__ import annotations

import pytest

from cortexops.domain.evidence import Gap, GapReason
from cortexops.domain.kubernetes import mesh
from cortexops.domain.kubernetes.mesh import Caller, Fits
from cortexops.domain.resource import JSON
from cortexops.domain.scene import Scene
from cortexops.domain.signal import SignalType
from cortexops.domain.topology import Edge, Relation, topology
from tests.investigation.objects import (
    ago,
    container,
    deployment,
    diagnose,
    pod,
    ref,
    replica_set,
    running,
    scene,
    service,
    template,
    told,
)

API = ref("Deployment", "api")
DB = ("shop", "db")
FAILED = "ERROR GET http://db/orders returned 503 upstream connect error"
PROXY = {"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.22.1"}
ABORT = {
    "fault": {"abort": {"httpStatus": 503, "percentage": {"value": 50}}},
    "route": [{"destination": {"host": "db"}}],
}


def rule(kind: str, spec: JSON, *, written: str = "", namespace: str = "shop", name: str = "db-rule") -> JSON:
    entry = {"manager": "kubectl-edit", "time": written or ago(minutes=8), "fieldsV1": {"f:spec": {}}}
    metadata = {
        "name": name,
        "namespace": namespace,
        "creationTimestamp": ago(days=90),
        "managedFields": [entry],
    }
    return {"kind": kind, "metadata": metadata, "spec": spec}


def route(*rules: JSON, written: str = "", **spec: list[str]) -> JSON:
    return rule("VirtualService", {"hosts": ["db"], "http": list(rules), **spec}, written=written)


def calling(
    *objects: JSON,
    line: str = FAILED,
    bare: bool = False,
    gaps: tuple[Gap, ...] = (),
    labels: JSON | None = None,
) -> Scene:
    """api, which is well, complains of db, which looks well; the objects act on both."""
    env = container(env=[{"name": "DB_URL", "value": "http://db"}])
    live = deployment(pod_template=template("api", env, *([] if bare else [PROXY])))
    rs = replica_set(live, 4, live["spec"]["template"], ago(days=20), 2)
    one = pod(rs, running())
    other = deployment("db", template("db", container("db"), PROXY))
    other["spec"]["template"]["metadata"]["labels"] |= labels or {}
    other_rs = replica_set(other, 1, other["spec"]["template"], ago(days=20), 2)
    its = pod(other_rs, running("db"), suffix="d4d4d")
    made = scene(
        API, live, rs, one, other, other_rs, its, service("api"), service("db"), *objects,
        logs=((one, "api", False, [line]),) if line else (), kind=SignalType.ERROR_RATE, gaps=gaps,
    )  # fmt: skip
    ends = [ref("Service", "db"), ref("Deployment", "db"), API]
    added = []
    for obj in objects:
        source = ref(obj["kind"], obj["metadata"]["name"], obj["metadata"]["namespace"])
        for end in ends if obj["kind"] != "Sidecar" else ends[2:]:
            added.append(Edge(source=source, relation=Relation.ACTS_ON, target=end))
    return made.model_copy(update={"topology": topology([*made.topology.edges, *added])})


def blamed(made: Scene) -> str:
    verdict, category, what = told(diagnose(made))
    return what if category.startswith("mesh_") and verdict == "root_cause" else ""


def test_a_fault_that_is_injected_is_the_cause() -> None:
    found = diagnose(calling(route(ABORT)))
    assert told(found) == ("root_cause", "mesh_route", "VirtualService db-rule")


@pytest.mark.parametrize(
    "innocent",
    [
        {**ABORT, "fault": {"abort": {"httpStatus": 503, "percentage": {"value": 0}}}},
        {**ABORT, "match": [{"headers": {"end-user": {"exact": "tester"}}}]},
        {**ABORT, "match": [{"sourceLabels": {"app": "somebody"}}]},
        {"fault": {"delay": {"fixedDelay": "5s"}}, "route": [{"destination": {"host": "db"}}]},
        {"route": [{"destination": {"host": "db"}}], "timeout": "30s"},
    ],
)
def test_faults_for_others_and_plain_rules_are_innocent(innocent: JSON) -> None:
    assert blamed(calling(route(innocent))) == ""


def test_an_injected_delay_is_the_cause_of_answers_that_come_too_late() -> None:
    delay = {"fault": {"delay": {"fixedDelay": "7s"}}, "route": [{"destination": {"host": "db"}}]}
    late = "ERROR GET http://db/orders: context deadline exceeded"
    assert blamed(calling(route(delay), line=late)) == "VirtualService db-rule"


def test_a_rule_behind_one_that_takes_everything_does_nothing() -> None:
    assert blamed(calling(route({"route": [{"destination": {"host": "db"}}]}, ABORT))) == ""


def test_a_fault_that_was_written_after_the_trouble_began_is_not_its_cause() -> None:
    assert blamed(calling(route(ABORT, written=ago(seconds=10)))) == ""


def test_a_fault_that_has_stood_there_for_months_is_no_root_cause() -> None:
    assert diagnose(calling(route(ABORT, written=ago(days=60)))).verdict.value == "hypothesis"


def test_a_fault_at_the_gateway_does_not_touch_calls_within_the_mesh() -> None:
    assert blamed(calling(route(ABORT, gateways=["public"]))) == ""
    assert blamed(calling(route(ABORT, gateways=["public", "mesh"]))) != ""


def subset_of(labels: JSON, written: str = "") -> JSON:
    spec = {"host": "db", "subsets": [{"name": "v1", "labels": labels}]}
    return rule("DestinationRule", spec, written=written or ago(days=30), name="db-subsets")


def test_a_subset_without_pods_is_blamed_on_who_defines_it() -> None:
    to_v1 = route({"route": [{"destination": {"host": "db", "subset": "v1"}}]}, written=ago(days=30))
    assert blamed(calling(to_v1, subset_of({"version": "v9"}))) == "DestinationRule db-subsets"
    assert blamed(calling(to_v1, subset_of({"version": "v1"}), labels={"version": "v1"})) == ""


def test_a_subset_that_nobody_defines_is_blamed_on_who_wrote_last() -> None:
    to_v2 = {"route": [{"destination": {"host": "db", "subset": "v2"}}]}
    assert blamed(calling(route(to_v2), subset_of({"version": "v1"}))) == "VirtualService db-rule"
    changed = subset_of({"version": "v1"}, ago(minutes=7))
    assert blamed(calling(route(to_v2, written=ago(days=9)), changed)) == "DestinationRule db-subsets"


def test_subsets_that_may_not_be_read_are_not_called_missing() -> None:
    gap = Gap(reason=GapReason.FORBIDDEN, what="list destinationrules.networking.istio.io in namespace shop")
    to_v2 = {"route": [{"destination": {"host": "db", "subset": "v2"}}]}
    assert blamed(calling(route(to_v2), gaps=(gap,))) == ""


def test_a_route_to_a_service_that_does_not_exist_is_the_cause() -> None:
    gap = Gap(reason=GapReason.NO_DATA, what="get services/db-next in namespace shop")
    lost = {"route": [{"destination": {"host": "db-next"}}]}
    assert blamed(calling(route(lost), gaps=(gap,))) == "VirtualService db-rule"
    assert blamed(calling(route(lost))) == ""
    shares = [
        {"destination": {"host": "db-next"}, "weight": 0},
        {"destination": {"host": "db"}, "weight": 100},
    ]
    assert blamed(calling(route({"route": shares}), gaps=(gap,))) == ""


def pool(most: int, written: str = "") -> JSON:
    policy = {"connectionPool": {"tcp": {"maxConnections": most}}}
    return rule("DestinationRule", {"host": "db", "trafficPolicy": policy}, written=written)


def test_a_pool_that_was_made_too_small_lately_is_the_cause_where_it_overflows() -> None:
    full = f"{FAILED} reset reason: overflow"
    assert blamed(calling(pool(1), line=full)) == "DestinationRule db-rule"
    assert blamed(calling(pool(500), line=full)) == ""
    assert blamed(calling(pool(1, ago(days=60)), line=full)) == ""


STRICT = {"mtls": {"mode": "STRICT"}}
RESET = "ERROR GET http://db/orders: connection reset by peer"


def test_strict_tls_cuts_off_who_has_no_proxy_and_nobody_else() -> None:
    strict = rule("PeerAuthentication", STRICT)
    assert blamed(calling(strict, line=RESET, bare=True)) == "PeerAuthentication db-rule"
    assert blamed(calling(strict, line=RESET)) == ""
    only_db = {"selector": {"matchLabels": {"app": "db"}}, "mtls": {"mode": "PERMISSIVE"}}
    permissive = rule("PeerAuthentication", only_db, name="narrow")
    assert blamed(calling(strict, permissive, line=RESET, bare=True)) == ""


def test_plain_text_to_strict_servers_is_blamed_on_the_rule_that_asks_for_it() -> None:
    plain = rule("DestinationRule", {"host": "db", "trafficPolicy": {"tls": {"mode": "DISABLE"}}})
    assert (
        blamed(calling(rule("PeerAuthentication", STRICT, name="strict"), plain, line=RESET))
        == "DestinationRule db-rule"
    )
    assert blamed(calling(plain, line=RESET)) == ""


REFUSED = "ERROR GET http://db/orders returned 403 RBAC: access denied"


def allow(*sources: JSON, action: str = "ALLOW", **more: list[JSON]) -> JSON:
    rules = [{"from": [{"source": source}], **more} for source in sources]
    return rule("AuthorizationPolicy", {"action": action, "rules": rules})


@pytest.mark.parametrize(
    ("policy", "guilty"),
    [
        (allow({"principals": ["cluster.local/ns/shop/sa/web"]}), True),
        (allow({"principals": ["*/ns/shop/sa/default"]}), False),
        (allow({"namespaces": ["shop"]}), False),
        (allow({"namespaces": ["other"]}), True),
        (allow({"namespaces": ["shop"]}, action="DENY"), True),
        (allow({"namespaces": ["other"]}, action="DENY"), False),
        (rule("AuthorizationPolicy", {}), True),
        (rule("AuthorizationPolicy", {"action": "AUDIT", "rules": [{}]}), False),
    ],
)
def test_who_refuses_the_caller_is_the_cause_and_who_admits_it_is_not(policy: JSON, guilty: bool) -> None:
    assert blamed(calling(policy, line=REFUSED)) == ("AuthorizationPolicy db-rule" if guilty else "")


def test_a_policy_is_not_blamed_for_errors_that_are_no_refusals() -> None:
    assert blamed(calling(rule("AuthorizationPolicy", {}))) == ""


def test_a_sidecar_that_does_not_list_the_callee_is_the_cause() -> None:
    closed = {
        "egress": [{"hosts": ["./web.shop.svc.cluster.local"]}],
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
    }
    assert blamed(calling(rule("Sidecar", closed))) == "Sidecar db-rule"
    assert blamed(calling(rule("Sidecar", {**closed, "egress": [{"hosts": ["./*"]}]}))) == ""


@pytest.mark.parametrize(
    ("host", "own", "is_db"),
    [
        ("db", "shop", True),
        ("db", "other", False),
        ("db.shop.svc.cluster.local", "other", True),
        ("*.shop.svc.cluster.local", "other", True),
        ("*.other.svc.cluster.local", "shop", False),
        ("db.acme.dev", "shop", False),
    ],
)
def test_hosts_are_read_from_where_they_are_written(host: str, own: str, is_db: bool) -> None:
    assert mesh.means(host, own, DB) is is_db


def test_who_is_not_in_the_mesh_proves_no_identity() -> None:
    policy = allow({"namespaces": ["shop"]})
    assert mesh.admits(policy, Caller("shop", "default", {}, True)) is Fits.YES
    assert mesh.admits(policy, Caller("shop", "default", {}, False)) is Fits.NO
    narrow = allow({"namespaces": ["shop"]}, to=[{"operation": {"methods": ["GET"]}}])
    assert mesh.admits(narrow, Caller("shop", "default", {}, True)) is Fits.PERHAPS


@pytest.mark.parametrize(
    "spec",
    [None, 1, {"http": 3}, {"http": [{"route": "x", "fault": 1}]}, {"hosts": [1]}, {"subsets": 1, "host": 4}],
)
def test_objects_that_make_no_sense_are_no_cause(spec: JSON) -> None:
    for kind in ("VirtualService", "DestinationRule", "PeerAuthentication", "AuthorizationPolicy", "Sidecar"):
        if kind == "AuthorizationPolicy":
            continue
        assert blamed(calling(rule(kind, spec))) == ""
