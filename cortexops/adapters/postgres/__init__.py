"""The database. `PostgresStore` is the whole of `cortexops.ports.store.Store` over one connection pool."""

from __future__ import annotations

from cortexops.adapters.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
