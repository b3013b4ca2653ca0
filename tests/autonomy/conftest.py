"""The database for these tests, and a simulated cluster to change."""

from tests.remediation.conftest import simulated
from tests.support.postgres import migrated_database, migrated_template, store

__all__ = ["migrated_database", "migrated_template", "simulated", "store"]
