"""The database for these tests."""

from tests.support.postgres import migrated_database, migrated_template, store

__all__ = ["migrated_database", "migrated_template", "store"]
