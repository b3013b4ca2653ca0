"""Clients for the simulated control plane's own parts, which write under their own names."""

from __future__ import annotations

from cortexops.adapters.kubernetes import KubernetesCluster


class ControllerClient(KubernetesCluster):
    """Writes as kube-controller-manager, so that managedFields tell its writes from the product's."""

    _manager = "kube-controller-manager"

    @classmethod
    def _options(cls, dry_run: bool) -> dict[str, str]:
        return {**super()._options(dry_run), "fieldManager": cls._manager}


class KubeletClient(ControllerClient):
    """Writes as the kubelet."""

    _manager = "kubelet"
