"""Why one object's trouble is held to be part of another's incident."""

from __future__ import annotations

from enum import StrEnum


class LinkReason(StrEnum):
    """What two objects share, the surest first. Reaches the fate of a signal, the audit row and the message."""

    SAME_WORKLOAD = "same_workload"
    SAME_NODE = "same_node"
    NAMESPACE_WIDE = "namespace_wide"
    SAME_CONFIG = "same_config"
    SAME_ROLLOUT = "same_rollout"
    SHARED_DEPENDENCY = "shared_dependency"
