"""The simulated cluster with its writers, and a Prometheus that scrapes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.remediation.conftest import simulated
from tests.verification.prometheus import Server, prometheus

__all__ = ["simulated"]


@pytest.fixture(scope="session")  # it takes five seconds to begin; tests have namespaces of their own
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with prometheus(tmp_path_factory.mktemp("prometheus")) as running:
        yield running
