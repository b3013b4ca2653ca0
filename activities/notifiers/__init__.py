"""Notifiers: one file each. Adding one touches no other file.

A notifier carries messages from the outbox to one service. It decides nothing, sends nothing that was not
redacted, and answers what became of the message; the outbox sees to order, leases and repetition.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cortexops.domain.message import Delivered, Message
from cortexops.registry import Registry
from cortexops.settings import Settings


class Notifier(Protocol):
    """What a notifier's file provides, built from settings."""

    async def send(self, message: Message, thread: str) -> Delivered:
        """Deliver. `thread` is the reference that the last delivery of the same incident answered, or empty.

        Troubles of the service are answered (`Delivery.RETRY`, `Delivery.REFUSED`), not raised.
        """
        ...

    async def close(self) -> None: ...


Factory = Callable[[Settings], Notifier | None]
"""Builds the notifier, or None when the settings do not ask for it."""

NOTIFIERS: Registry[Factory] = Registry("notifier", "activities.notifiers")


def build_notifiers(settings: Settings) -> dict[str, Notifier]:
    """Every notifier that is configured, by name."""
    built = {name: factory(settings) for name, factory in NOTIFIERS}
    return {name: notifier for name, notifier in built.items() if notifier is not None}
