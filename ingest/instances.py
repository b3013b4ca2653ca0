"""When the scraped address (`instance`) names the object of an alert, and when it must not.

`instance` is the exporter's address on nearly every metric. It may stand for the object only where no label
names one, or where the label names the very exporter whose job it is to tell of its node or of a probed URL.
"""

from __future__ import annotations

from collections.abc import Mapping

from cortexops.domain.exporters import Role, is_about_the_target, is_own_address, role_of, role_of_job
from cortexops.domain.kubernetes.addresses import Address, parse_address
from ingest.source import NoTarget

_OF_THE_EXPORTER = frozenset({"pod", "pod_name", "kubernetes_pod_name", "service"})
_OTHERS = ("exported_namespace", "exported_container", "exported_service")


def _instance(labels: Mapping[str, str]) -> str:
    return labels.get("exported_instance") or labels.get("instance") or ""


def instead_of(labels: Mapping[str, str], name: str, label: str, found: str) -> Address | None:
    """The address that counts although `label` names an object: that is the exporter itself, a node agent or
    a prober by its scrape job, and what it tells of has this address."""
    if label not in _OF_THE_EXPORTER or "job" not in labels or is_about_the_target(name):
        return None
    role = role_of_job(labels["job"])
    if role not in (Role.NODE, Role.PROBER) or role_of(found) is not role:
        return None
    address = parse_address(_instance(labels))
    if address is None or is_own_address(role, address.port):
        return None
    return address if role is Role.NODE or address.is_url else None


def address_of(labels: Mapping[str, str], name: str, *, field: str, accepted: str) -> Address:
    """The address of an alert whose labels name no object. Raises `NoTarget`, which says why there is none."""
    value = _instance(labels) or labels.get("nodename", "")
    if not value:
        raise NoTarget(field, f"name no Kubernetes object; give one of {accepted}")
    # `nodename` is what node_exporter's own machine calls itself; alerts often join it to their metrics.
    address = parse_address(value) or parse_address(labels.get("nodename", ""))
    if address is None:
        raise NoTarget(
            f"{field}.instance", f"is no address that could be looked up; give it, or one of {accepted}"
        )
    job = labels.get("job", "")
    role = role_of_job(job)
    renamed = "exported_instance" in labels  # by the scrape: then it is that of the object
    if not renamed and is_own_address(role, address.port) and not is_about_the_target(name):
        raise NoTarget(
            field,
            f"name no Kubernetes object, and instance is the address of the exporter ({job}), which tells of "
            f"others; give one of {accepted}",
        )
    if not renamed and (other := next((label for label in _OTHERS if labels.get(label)), "")):
        raise NoTarget(
            field,
            f"name no Kubernetes object, and {other} tells that instance is not its address; give one of {accepted}",
        )
    if role is Role.KUBELET and labels.get("container"):
        raise NoTarget(field, "name a container, but not the pod that it belongs to; give pod and namespace")
    return address
