"""Kinds that only investigations read, added to the product's table of kinds when this package is imported."""

from __future__ import annotations

from cortexops.domain.resource import KINDS, Kind

_RBAC = "rbac.authorization.k8s.io/v1"
_ADMISSION = "admissionregistration.k8s.io/v1"

READ_ONLY = (
    Kind("StorageClass", "storageclasses", False, ("storage.k8s.io/v1",)),
    Kind("Role", "roles", True, (_RBAC,)),
    Kind("RoleBinding", "rolebindings", True, (_RBAC,)),
    Kind("ClusterRole", "clusterroles", False, (_RBAC,)),
    Kind("ClusterRoleBinding", "clusterrolebindings", False, (_RBAC,)),
    Kind("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", False, (_ADMISSION,)),
    Kind("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", False, (_ADMISSION,)),
)

for _kind in READ_ONLY:
    KINDS.setdefault(_kind.kind, _kind)
