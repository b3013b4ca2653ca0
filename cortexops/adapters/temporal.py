"""Temporal: one way to connect, one data converter, one list of search attributes."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, TLSConfig

from cortexops.domain.errors import TemporaryError
from cortexops.settings import TemporalSettings

SEARCH_ATTRIBUTES = {
    "CortexState": "Keyword",
    "CortexSeverity": "Keyword",
    "CortexCluster": "Keyword",
    "CortexNamespace": "Keyword",
    "CortexIncidentId": "Keyword",
}
"""Name → type, as the server must know them (`temporal operator search-attribute create`)."""


async def connect(settings: TemporalSettings, *, identity: str = "") -> Client:
    """A client. Raises `TemporaryError` when the frontend does not answer."""
    try:
        return await Client.connect(
            settings.address,
            namespace=settings.namespace,
            data_converter=pydantic_data_converter,
            api_key=settings.api_key.get_secret_value() if settings.api_key else None,
            tls=TLSConfig() if settings.tls else False,
            identity=identity or None,
        )
    except (RPCError, RuntimeError, OSError) as error:
        raise TemporaryError(
            f"Temporal at {settings.address} does not answer: {error}", delay=timedelta(seconds=1)
        ) from None
