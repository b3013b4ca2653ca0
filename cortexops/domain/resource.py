"""Which object: the one way the product names a Kubernetes object, and the kinds that it knows."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

JSON = dict[str, Any]
"""A Kubernetes object as the API server sends it."""


class Frozen(BaseModel):
    """Base of the domain's types: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ResourceRef(Frozen):
    """One object in one cluster. `namespace` is empty for cluster-wide kinds."""

    cluster: str
    kind: str
    namespace: str = ""
    name: str

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"

    @property
    def key(self) -> str:
        """`cluster:namespace:kind:name`, the stable form that ids are made of."""
        return f"{self.cluster}:{self.namespace}:{self.kind}:{self.name}"


@lru_cache(50_000)
def reference(cluster: str, kind: str, namespace: str, name: str) -> ResourceRef:
    """The reference, made once for each object: in a storm the same ones come again and again."""
    return ResourceRef(cluster=cluster, kind=kind, namespace=namespace, name=name)


class Kind(NamedTuple):
    """How the API serves a kind. `versions` are tried in order: the first that the server has is used.

    One that is `brought` by an add-on is asked for only where the server says that it has the group. Where two
    groups call their kinds alike, ours is named after the add-on.
    """

    kind: str
    plural: str
    namespaced: bool
    versions: tuple[str, ...]
    brought: bool = False

    @property
    def group(self) -> str:
        """The API group, empty for the core."""
        return self.versions[0].rpartition("/")[0]


_RBAC = "rbac.authorization.k8s.io/v1"
_ADMISSION = "admissionregistration.k8s.io/v1"
_GATEWAY = ("gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1")
_CHAOS = ("chaos-mesh.org/v1alpha1",)
_ISTIO = ("networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")
_ISTIO_SECURITY = ("security.istio.io/v1", "security.istio.io/v1beta1")
_VPA = ("autoscaling.k8s.io/v1", "autoscaling.k8s.io/v1beta2")
_EXTERNAL_SECRETS = ("external-secrets.io/v1", "external-secrets.io/v1beta1")
_CALICO = ("crd.projectcalico.org/v1",)
_HELM_RELEASE = tuple(f"helm.toolkit.fluxcd.io/{version}" for version in ("v2", "v2beta2", "v2beta1"))
_KUSTOMIZATION = tuple(f"kustomize.toolkit.fluxcd.io/{version}" for version in ("v1", "v1beta2"))
_TABLE = (
    Kind("Pod", "pods", True, ("v1",)),
    Kind("Service", "services", True, ("v1",)),
    Kind("Endpoints", "endpoints", True, ("v1",)),
    Kind("ConfigMap", "configmaps", True, ("v1",)),
    Kind("Secret", "secrets", True, ("v1",)),
    Kind("Event", "events", True, ("v1",)),
    Kind("ServiceAccount", "serviceaccounts", True, ("v1",)),
    Kind("PersistentVolumeClaim", "persistentvolumeclaims", True, ("v1",)),
    Kind("PersistentVolume", "persistentvolumes", False, ("v1",)),
    Kind("ResourceQuota", "resourcequotas", True, ("v1",)),
    Kind("LimitRange", "limitranges", True, ("v1",)),
    Kind("Namespace", "namespaces", False, ("v1",)),
    Kind("Node", "nodes", False, ("v1",)),
    Kind("ReplicationController", "replicationcontrollers", True, ("v1",)),
    Kind("Deployment", "deployments", True, ("apps/v1",)),
    Kind("ReplicaSet", "replicasets", True, ("apps/v1",)),
    Kind("StatefulSet", "statefulsets", True, ("apps/v1",)),
    Kind("DaemonSet", "daemonsets", True, ("apps/v1",)),
    Kind("ControllerRevision", "controllerrevisions", True, ("apps/v1",)),
    Kind("Job", "jobs", True, ("batch/v1",)),
    Kind("CronJob", "cronjobs", True, ("batch/v1", "batch/v1beta1")),
    Kind("HorizontalPodAutoscaler", "horizontalpodautoscalers", True, ("autoscaling/v2", "autoscaling/v1")),
    Kind("PodDisruptionBudget", "poddisruptionbudgets", True, ("policy/v1", "policy/v1beta1")),
    Kind("Ingress", "ingresses", True, ("networking.k8s.io/v1",)),
    Kind("IngressClass", "ingressclasses", False, ("networking.k8s.io/v1",)),
    Kind("HTTPRoute", "httproutes", True, _GATEWAY),
    Kind("Gateway", "gateways", True, _GATEWAY),
    Kind("Certificate", "certificates", True, ("cert-manager.io/v1",)),
    Kind("Rollout", "rollouts", True, ("argoproj.io/v1alpha1",), True),
    Kind("NetworkPolicy", "networkpolicies", True, ("networking.k8s.io/v1",)),
    Kind("EndpointSlice", "endpointslices", True, ("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1")),
    Kind("Lease", "leases", True, ("coordination.k8s.io/v1",)),
    Kind("PodMetrics", "pods", True, ("metrics.k8s.io/v1beta1",)),
    Kind("APIService", "apiservices", False, ("apiregistration.k8s.io/v1",)),
    Kind("StorageClass", "storageclasses", False, ("storage.k8s.io/v1",)),
    Kind("Role", "roles", True, (_RBAC,)),
    Kind("RoleBinding", "rolebindings", True, (_RBAC,)),
    Kind("ClusterRole", "clusterroles", False, (_RBAC,)),
    Kind("ClusterRoleBinding", "clusterrolebindings", False, (_RBAC,)),
    Kind("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", False, (_ADMISSION,)),
    Kind("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", False, (_ADMISSION,)),
    Kind("PodChaos", "podchaos", True, _CHAOS, True),
    Kind("NetworkChaos", "networkchaos", True, _CHAOS, True),
    Kind("StressChaos", "stresschaos", True, _CHAOS, True),
    Kind("HTTPChaos", "httpchaos", True, _CHAOS, True),
    Kind("IOChaos", "iochaos", True, _CHAOS, True),
    Kind("DNSChaos", "dnschaos", True, _CHAOS, True),
    Kind("TimeChaos", "timechaos", True, _CHAOS, True),
    Kind("Schedule", "schedules", True, _CHAOS, True),
    Kind("ChaosEngine", "chaosengines", True, ("litmuschaos.io/v1alpha1",), True),
    Kind("VirtualService", "virtualservices", True, _ISTIO, True),
    Kind("DestinationRule", "destinationrules", True, _ISTIO, True),
    Kind("IstioGateway", "gateways", True, _ISTIO, True),
    Kind("Sidecar", "sidecars", True, _ISTIO, True),
    Kind("PeerAuthentication", "peerauthentications", True, _ISTIO_SECURITY, True),
    Kind("AuthorizationPolicy", "authorizationpolicies", True, _ISTIO_SECURITY, True),
    Kind("ScaledObject", "scaledobjects", True, ("keda.sh/v1alpha1",), True),
    Kind("VerticalPodAutoscaler", "verticalpodautoscalers", True, _VPA, True),
    Kind("ExternalSecret", "externalsecrets", True, _EXTERNAL_SECRETS, True),
    Kind("SecretStore", "secretstores", True, _EXTERNAL_SECRETS, True),
    Kind("ClusterSecretStore", "clustersecretstores", False, _EXTERNAL_SECRETS, True),
    Kind("SealedSecret", "sealedsecrets", True, ("bitnami.com/v1alpha1",), True),
    Kind("CiliumNetworkPolicy", "ciliumnetworkpolicies", True, ("cilium.io/v2",), True),
    Kind("CalicoNetworkPolicy", "networkpolicies", True, _CALICO, True),
    Kind("GlobalNetworkPolicy", "globalnetworkpolicies", False, _CALICO, True),
    Kind("Application", "applications", True, ("argoproj.io/v1alpha1",), True),
    Kind("HelmRelease", "helmreleases", True, _HELM_RELEASE, True),
    Kind("Kustomization", "kustomizations", True, _KUSTOMIZATION, True),
)

KINDS: dict[str, Kind] = {kind.kind: kind for kind in _TABLE}
"""Every kind the product reads or writes, by its name."""
