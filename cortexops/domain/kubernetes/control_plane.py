"""Whether controllers keep up with what is asked of them."""

from __future__ import annotations

from datetime import datetime, timedelta

from cortexops.domain.kubernetes.values import moment, number
from cortexops.domain.resource import JSON

SYSTEM = "kube-system"
CONTROLLER_MANAGER = "kube-controller-manager"
"""The name of its Lease, and the `component` label of its pods where they can be seen."""
_SILENT = timedelta(minutes=2)


def is_unobserved(workload: JSON) -> bool:
    """Whether the workload's controller has not taken note of its newest change."""
    observed = number(workload, "status", "observedGeneration")
    return 0 < observed < number(workload, "metadata", "generation")


def silent_since(lease: JSON, now: datetime) -> datetime | None:
    """Since when nobody renews the Lease; None while somebody does."""
    renewed = moment(lease, "spec", "renewTime")
    return renewed if renewed is not None and now - renewed > _SILENT else None
