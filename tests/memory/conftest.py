"""The database for these tests, and logs apart from what commands print."""

from tests.cli.conftest import quiet_logs
from tests.support.postgres import migrated_database, migrated_template, store

__all__ = ["migrated_database", "migrated_template", "quiet_logs", "store"]
