"""What the status of a node tells beyond the kubelet's own conditions, and whose work its pods need there."""

from __future__ import annotations

import re
from enum import StrEnum

from cortexops.domain.kubernetes import meta
from cortexops.domain.kubernetes.values import mapping, objects, text
from cortexops.domain.resource import JSON

_OWN = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")
# Detectors on nodes (node-problem-detector and those of clouds) name conditions either way round.
_BAD_WHEN_TRUE = re.compile(
    r"Problem$|Deadlock$|Unhealthy$|Pressure$|Skew(?:ed)?$|Drift$|^Readonly|^Corrupt|^Frequent"
)
_BAD_WHEN_FALSE = re.compile(r"(?:Ready|Healthy|Synchroni[sz]ed|Synced)$")
_SANDBOX_WITHOUT_ADDRESS = re.compile(
    r"no (?:more )?(?:available |free )?(?:ip|ipv4|ip address(?:es)?)\b.{0,40}(?:available|left|free|range set)"
    r"|no ip addresses available|no (?:available|free) (?:ips?|addresses)|failed to assign an ip address"
    r"|ip(?:am)? (?:pool|range).{0,20}exhausted|insufficient (?:free )?ip",
    re.IGNORECASE,
)
SETUP_EVENTS = (
    "FailedMount",
    "FailedAttachVolume",
    "FailedCreatePodSandBox",
    "FailedMapVolume",
    "NetworkNotReady",
)
"""Reasons of events that tell that a pod cannot be set up on its node."""
_DRIVER = re.compile(r"driver name (\S+) not found in the list of registered CSI drivers")
_FILE_SERVER = re.compile(r"-t nfs4?\b(?: -o \S+)? \[?([\w.:-]+?)\]?:/")
_ATTACHER = re.compile(r"external-attacher of (\S+) CSI driver")


class Role(StrEnum):
    """What a DaemonSet does for the other pods of its node."""

    NETWORK = "sets up the network of pods"
    SERVICES = "leads connections to Services"
    NAMES = "resolves names"
    VOLUMES = "mounts volumes"


_AGENTS = (
    (Role.NAMES, re.compile(r"node-?local-?dns|node-cache|nodelocaldns")),
    (Role.SERVICES, re.compile(r"^kube-proxy|kube-router|cilium(?!-operator)")),
    (
        Role.NETWORK,
        re.compile(
            r"calico-node|canal|cilium(?!-operator)|flannel|weave|aws-node|vpc-cni|azure-c[nn][is]|antrea"
            r"|ovnkube|multus|kube-router|kindnet|-cni\b"
        ),
    ),
    (Role.VOLUMES, re.compile(r"csi")),
)


def problems(node: JSON) -> list[meta.Condition]:
    """Conditions that a detector on the node set to its fault, the newest first; never the kubelet's own."""
    found = []
    for entry in objects(node, "status", "conditions"):
        kind, status = text(entry, "type"), text(entry, "status")
        if kind in _OWN:
            continue
        if (status == "True" and _BAD_WHEN_TRUE.search(kind)) or (
            status == "False" and _BAD_WHEN_FALSE.search(kind)
        ):
            found.append(meta.condition(node, kind))
    return sorted(found, key=lambda c: (c.since is None, -(c.since.timestamp() if c.since else 0.0), c.type))


def roles(daemon_set: str, pod: JSON) -> frozenset[Role]:
    """What a DaemonSet of that name, or with such images, is known to do for its node; nothing for others."""
    images = [text(c, "image").rpartition("/")[2] for c in objects(pod, "spec", "containers")]
    return frozenset(role for role, pattern in _AGENTS if any(map(pattern.search, (daemon_set, *images))))


def being_set_up(pod: JSON) -> bool:
    """Whether the pod is on a node that has not created a container of it yet."""
    statuses = [
        s for part in ("initContainerStatuses", "containerStatuses") for s in objects(pod, "status", part)
    ]
    waiting = {text(status, "state", "waiting", "reason") for status in statuses}
    return (
        bool(text(pod, "spec", "nodeName"))
        and text(pod, "status", "phase") == "Pending"
        and bool(waiting)
        and waiting <= {"ContainerCreating", "PodInitializing"}
    )


def missing_driver(message: str) -> str:
    """The CSI driver that a kubelet misses on its node, by an event's message; empty for other messages."""
    match = _DRIVER.search(message)
    return match.group(1) if match else ""


def missing_attacher(message: str) -> str:
    """The CSI driver whose attacher a cluster waits for in vain, by an event's message; empty for other messages."""
    match = _ATTACHER.search(message)
    return match.group(1) if match else ""


def file_server(message: str) -> str:
    """The host whose NFS export a kubelet could not mount, by an event's message; empty for other messages."""
    match = _FILE_SERVER.search(message)
    return match.group(1) if match else ""


def serves_driver(workload: str, driver: str) -> bool:
    """Whether a workload's name (or image) speaks of that CSI driver: `efs-csi-node` of `efs.csi.aws.com`."""
    parts = {
        part
        for part in re.split(r"[^a-z0-9]+", driver.lower())
        if len(part) > 1 and part not in _COMMON_PARTS
    }
    return bool(parts & set(re.split(r"[^a-z0-9]+", workload.lower())))


def mounts_for(daemon_set: JSON, driver: str) -> bool:
    """Whether a DaemonSet seems to be what serves that CSI driver on each node, by its name and images."""
    template = mapping(daemon_set, "spec", "template")
    name = meta.name(daemon_set)
    words = (name, *(text(c, "image").rpartition("/")[2] for c in objects(template, "spec", "containers")))
    return Role.VOLUMES in roles(name, template) and any(serves_driver(word, driver) for word in words)


def registers(daemon_set: JSON) -> bool:
    """Whether it tells the kubelet of a driver itself; what a driver only asks for secrets does not."""
    containers = objects(daemon_set, "spec", "template", "spec", "containers")
    return any("registrar" in text(each, "image") for each in containers)


_COMMON_PARTS = frozenset(
    {
        *("csi", "io", "com", "net", "org", "cloud", "driver", "drivers", "k8s", "sigs", "storage", "aws"),
        *("gke", "azure", "cluster", "local", "disk", "provisioner", "plugin"),
    }
)


def out_of_addresses(message: str) -> bool:
    """Whether a pod's network could not be set up because no address was left for it."""
    return bool(_SANDBOX_WITHOUT_ADDRESS.search(message))
