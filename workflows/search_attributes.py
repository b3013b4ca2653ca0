"""Typed keys of what the Temporal UI can search for."""

from __future__ import annotations

from temporalio.common import SearchAttributeKey, SearchAttributeUpdate

from cortexops.domain.incident import Incident

STATE = SearchAttributeKey.for_keyword("CortexState")
SEVERITY = SearchAttributeKey.for_keyword("CortexSeverity")
CLUSTER = SearchAttributeKey.for_keyword("CortexCluster")
NAMESPACE = SearchAttributeKey.for_keyword("CortexNamespace")
INCIDENT_ID = SearchAttributeKey.for_keyword("CortexIncidentId")


def of(incident: Incident) -> list[SearchAttributeUpdate[str]]:
    """All five, for the moment an incident is opened."""
    return [
        STATE.value_set(incident.state),
        SEVERITY.value_set(incident.severity),
        CLUSTER.value_set(incident.resource.cluster),
        NAMESPACE.value_set(incident.resource.namespace or "-"),
        INCIDENT_ID.value_set(incident.id),
    ]
