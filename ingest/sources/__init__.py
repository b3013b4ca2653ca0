"""The sources, one module each, found by discovery: it calls `SOURCES.register(name, source)` when imported.

Belongs here: how one sort of payload becomes signals. Does not: any I/O.
"""

from __future__ import annotations

from cortexops.registry import Registry
from ingest.source import Source

SOURCES: Registry[Source] = Registry("source", "ingest.sources")
