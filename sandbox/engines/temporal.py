"""The Temporal development server with its web UI, on a SQLite file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from cortexops.domain.errors import PermanentError, TemporaryError
from sandbox.engines.engine import Engine, refused
from sandbox.engines.extra import program
from sandbox.engines.ports import LOOPBACK

NAMESPACE = "default"
_LOOK = timedelta(seconds=2)
_REGISTER = timedelta(seconds=10)
_ONE_CLOCK = {"history.timerProcessorMaxTimeShift": '"1ms"'}
"""Servers that keep timers together let each be up to a second late, lest their clocks differ; here is but one."""


@dataclass(frozen=True)
class TemporalEndpoint:
    address: str
    ui_url: str
    namespace: str = NAMESPACE


class TemporalEngine(Engine):
    """All Temporal services in one process.

    With a file the journal is write-ahead: a killed server loses nothing, a power cut may lose the last
    moments. Without one (`persist=False`) everything is in memory and gone at the end.
    """

    name = "temporal"

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int,
        ui_port: int,
        http_port: int,
        metrics_port: int,
        persist: bool = True,
        search_attributes: Mapping[str, str] | None = None,
        dynamic_config: Mapping[str, str] | None = None,
    ) -> None:
        """`search_attributes`: name to type (`Keyword`, `Int` …); `dynamic_config`: key to JSON text."""
        super().__init__(data_dir)
        self.port = port
        self.ui_port = ui_port
        self._http_port = http_port
        self._metrics_port = metrics_port
        self._persist = persist
        self._search_attributes = dict(search_attributes or {})
        self._dynamic_config = dict(dynamic_config or {})

    @property
    def endpoint(self) -> TemporalEndpoint:
        return TemporalEndpoint(address=f"{LOOPBACK}:{self.port}", ui_url=f"http://{LOOPBACK}:{self.ui_port}")

    async def prepare(self) -> Sequence[str]:
        command = [
            str(program("temporal")), "server", "start-dev",
            "--ip", LOOPBACK, "--ui-ip", LOOPBACK,
            "--port", str(self.port), "--ui-port", str(self.ui_port),
            "--http-port", str(self._http_port), "--metrics-port", str(self._metrics_port),
            # Nothing of the user's own Temporal settings may redirect this server, and it needs no internet.
            "--disable-config-file", "--disable-config-env", "--ui-disable-news-fetch",
            "--log-level", "warn", "--color", "never",
        ]  # fmt: skip
        if self._persist:
            command += ["--db-filename", str(self.folders.data / "temporal.sqlite")]
            command += ["--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"]
        for name, kind in self._search_attributes.items():
            command += ["--search-attribute", f"{name}={kind}"]  # heeded on a new file only; see `opened`
        for key, value in (_ONE_CLOCK | self._dynamic_config).items():
            command += ["--dynamic-config-value", f"{key}={value}"]
        return command

    async def healthy(self) -> str | None:
        # The client's own connect would retry for seconds; asking the port first keeps a start quick.
        if (reason := self._not_running() or await refused(self.port)) is not None:
            return reason
        try:
            client = await asyncio.wait_for(Client.connect(self.endpoint.address), _LOOK.total_seconds())
            await client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=NAMESPACE), timeout=_LOOK
            )
        except RPCError as error:
            return f"namespace {NAMESPACE}: {error.status.name}"
        except (RuntimeError, TimeoutError) as error:  # RuntimeError: the connection itself failed
            return f"the frontend does not answer ({type(error).__name__})"
        return await refused(self.ui_port)

    async def opened(self) -> None:
        """Register the search attributes that an older data file does not have yet, and wait for them."""
        try:
            client = await Client.connect(self.endpoint.address)
            missing = await self._missing_attributes(client)
            if missing:
                await client.operator_service.add_search_attributes(
                    AddSearchAttributesRequest(
                        namespace=NAMESPACE,
                        search_attributes={
                            name: IndexedValueType.Value(_enum_name(self._search_attributes[name]))
                            for name in missing
                        },
                    ),
                    timeout=_REGISTER,
                )
            end = time.monotonic() + _REGISTER.total_seconds()
            while missing := await self._missing_attributes(client):
                if time.monotonic() > end:
                    raise TemporaryError(f"temporal: search attributes not registered: {sorted(missing)}")
                await asyncio.sleep(0.05)
        except (RPCError, RuntimeError, ValueError) as error:
            raise PermanentError(f"temporal: search attributes: {error}") from error

    async def _missing_attributes(self, client: Client) -> set[str]:
        known = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=NAMESPACE), timeout=_LOOK
        )
        return set(self._search_attributes) - set(known.custom_attributes)


def _enum_name(kind: str) -> str:
    words = "".join(f"_{letter}" if letter.isupper() else letter for letter in kind)
    return f"INDEXED_VALUE_TYPE{words.upper()}"
