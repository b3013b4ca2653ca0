"""A simulated cluster to change."""

from tests.remediation.conftest import simulated

__all__ = ["simulated"]
