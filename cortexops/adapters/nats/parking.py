"""Reading and removing what is parked. Parking itself is done where publishing is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Self

from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError

from cortexops.adapters.nats.connection import CLIENT_ERRORS, Connection
from cortexops.adapters.nats.streams import parked_name
from cortexops.domain.errors import TemporaryError
from cortexops.domain.parked import Parked
from cortexops.settings_ingest import NatsSettings

_SUBJECT_PARTS = 3  # parked.<source>.<reason>
_ANY = "*"


class Parking:
    """The stream of parked messages. It makes and changes no stream: it may not be there yet."""

    def __init__(self, settings: NatsSettings) -> None:
        self._connection = Connection(settings)
        self._stream = parked_name(settings)

    @classmethod
    async def connect(cls, settings: NatsSettings) -> Self:
        """Raises `TemporaryError` when NATS is away."""
        parking = cls(settings)
        await parking._connection.open()
        return parking

    async def close(self) -> None:
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def extent(self) -> tuple[str, int, int]:
        """(identity, messages, newest position). The identity changes when the stream is made anew and its
        positions begin again; ("", 0, 0) when there is none."""
        try:
            info = await self._connection.client.jetstream().stream_info(self._stream)
        except NotFoundError:
            return "", 0, 0
        except (APIError, *CLIENT_ERRORS) as error:
            raise _away(error) from None
        made = info.created.isoformat() if info.created else ""
        return f"{self._stream}@{made}", info.state.messages, info.state.last_seq

    async def message(self, sequence: int) -> Parked | None:
        """The message at this position. Raises `TemporaryError`."""
        return await self._get(seq=sequence) if sequence > 0 else None

    async def messages(
        self, *, most: int, after: int = 0, upto: int | None = None, source: str = "", reason: str = ""
    ) -> list[Parked]:
        """The oldest behind `after`, in order, of one source or reason where it is named. Raises
        `TemporaryError`."""
        wanted = f"parked.{source or _ANY}.{reason or _ANY}"
        found: list[Parked] = []
        while len(found) < most:
            message = await self._get(seq=after + 1, subject=wanted, next=True)
            if message is None or (upto is not None and message.sequence > upto):
                break
            found.append(message)
            after = message.sequence
        return found

    async def remove(self, sequence: int) -> bool:
        """Remove one for good. False when it was not there. Raises `TemporaryError`."""
        try:
            return await self._connection.client.jetstream().delete_msg(self._stream, sequence)
        except (APIError, *CLIENT_ERRORS) as error:
            if await self.message(sequence) is None:
                return False
            raise _away(error) from None

    async def _get(self, **wanted: Any) -> Parked | None:
        try:
            raw = await self._connection.client.jetstream().get_msg(self._stream, **wanted)
        except NotFoundError:
            return None
        except (APIError, *CLIENT_ERRORS) as error:
            raise _away(error) from None
        return _parked(raw)


def _away(error: BaseException) -> TemporaryError:
    return TemporaryError(f"JetStream does not answer: {type(error).__name__}")


def _parked(raw: RawStreamMsg) -> Parked:
    """Anybody may publish to the stream, so nothing in it is taken for granted."""
    _, source, reason = (*(raw.subject or "").split(".", _SUBJECT_PARTS - 1), "", "", "")[:_SUBJECT_PARTS]
    headers = raw.headers or {}
    body = raw.data or b""
    size = headers.get("Cortex-Size", "")
    return Parked(
        sequence=raw.seq or 0,
        source=source,
        reason=reason,
        size=max(int(size), len(body)) if size.isdecimal() and len(size) < 16 else len(body),
        detail=headers.get("Cortex-Detail", ""),
        at=raw.time or datetime.fromtimestamp(0, UTC),
        body=body,
    )
