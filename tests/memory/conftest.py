"""Logs apart from what commands print."""

from tests.cli.conftest import quiet_logs

__all__ = ["quiet_logs"]
