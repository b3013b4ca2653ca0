"""The bus on NATS JetStream: one stream of signals, one of parked messages, one consumer for each partition."""

from __future__ import annotations

from cortexops.adapters.nats.bus import JetStreamBus
from cortexops.adapters.nats.streams import subject_of

__all__ = ["JetStreamBus", "subject_of"]
