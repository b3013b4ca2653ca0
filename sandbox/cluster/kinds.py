"""Which resources the simulated API server serves, and how."""

from __future__ import annotations

from typing import NamedTuple


class Resource(NamedTuple):
    """One served resource. `status`: has a status subresource; `generation`: counts changes of its spec."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    status: bool = False
    scale: bool = False
    generation: bool = False
    everything: bool = False  # member of kubectl's `all`

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> str:
        """`plural.group`, as messages and the store name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """`Kind.group`, as validation errors name it."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


_APPS = "apps"
_BATCH = "batch"
_RBAC = "rbac.authorization.k8s.io"
_NET = "networking.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"

RESOURCES: tuple[Resource, ...] = (
    Resource("", "v1", "ConfigMap", "configmaps", short=("cm",)),
    Resource("", "v1", "Endpoints", "endpoints", short=("ep",)),
    Resource("", "v1", "Event", "events", short=("ev",)),
    Resource("", "v1", "LimitRange", "limitranges", short=("limits",)),
    Resource("", "v1", "Namespace", "namespaces", namespaced=False, short=("ns",), status=True),
    Resource("", "v1", "Node", "nodes", namespaced=False, short=("no",), status=True),
    Resource("", "v1", "PersistentVolume", "persistentvolumes", namespaced=False, short=("pv",), status=True),
    Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", short=("pvc",), status=True),
    Resource("", "v1", "Pod", "pods", short=("po",), status=True, everything=True),
    Resource(
        "",
        "v1",
        "ReplicationController",
        "replicationcontrollers",
        short=("rc",),
        status=True,
        scale=True,
        generation=True,
        everything=True,
    ),
    Resource("", "v1", "ResourceQuota", "resourcequotas", short=("quota",), status=True),
    Resource("", "v1", "Secret", "secrets"),
    Resource("", "v1", "Service", "services", short=("svc",), status=True, everything=True),
    Resource("", "v1", "ServiceAccount", "serviceaccounts", short=("sa",)),
    Resource(_APPS, "v1", "ControllerRevision", "controllerrevisions"),
    Resource(
        _APPS, "v1", "DaemonSet", "daemonsets", short=("ds",), status=True, generation=True, everything=True
    ),
    Resource(
        _APPS,
        "v1",
        "Deployment",
        "deployments",
        short=("deploy",),
        status=True,
        scale=True,
        generation=True,
        everything=True,
    ),
    Resource(
        _APPS,
        "v1",
        "ReplicaSet",
        "replicasets",
        short=("rs",),
        status=True,
        scale=True,
        generation=True,
        everything=True,
    ),
    Resource(
        _APPS,
        "v1",
        "StatefulSet",
        "statefulsets",
        short=("sts",),
        status=True,
        scale=True,
        generation=True,
        everything=True,
    ),
    Resource(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        short=("hpa",),
        status=True,
        everything=True,
    ),
    Resource(
        _BATCH, "v1", "CronJob", "cronjobs", short=("cj",), status=True, generation=True, everything=True
    ),
    Resource(_BATCH, "v1", "Job", "jobs", status=True, generation=True, everything=True),
    Resource(
        _ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", namespaced=False
    ),
    Resource(
        _ADMISSION,
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        namespaced=False,
    ),
    Resource("coordination.k8s.io", "v1", "Lease", "leases"),
    Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", generation=True),
    Resource(_NET, "v1", "Ingress", "ingresses", short=("ing",), status=True, generation=True),
    Resource(_NET, "v1", "IngressClass", "ingressclasses", namespaced=False, generation=True),
    Resource(_NET, "v1", "NetworkPolicy", "networkpolicies", short=("netpol",), generation=True),
    Resource(
        "policy",
        "v1",
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        short=("pdb",),
        status=True,
        generation=True,
    ),
    Resource(_RBAC, "v1", "ClusterRole", "clusterroles", namespaced=False),
    Resource(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    Resource(_RBAC, "v1", "Role", "roles"),
    Resource(_RBAC, "v1", "RoleBinding", "rolebindings"),
    Resource("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", namespaced=False, short=("pc",)),
    Resource("storage.k8s.io", "v1", "StorageClass", "storageclasses", namespaced=False, short=("sc",)),
)

BY_PATH: dict[tuple[str, str, str], Resource] = {(r.group, r.version, r.plural): r for r in RESOURCES}
BY_KEY: dict[str, Resource] = {r.key: r for r in RESOURCES}
BY_KIND: dict[str, Resource] = {r.kind: r for r in RESOURCES}

POD = BY_KIND["Pod"]
NAMESPACE = BY_KIND["Namespace"]
