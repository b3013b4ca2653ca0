"""`cortexops doctor` on the stream: its partitions and their owners, what is parked, and the law of
conservation."""

from __future__ import annotations

import asyncio

from cortexops.adapters.nats.looking import Scene, stream_watcher
from cortexops.adapters.nats.parking import Parking
from cortexops.cli.findings import Finding
from cortexops.domain.conservation import conservation
from cortexops.domain.errors import CortexError, NotFound
from cortexops.domain.partitions import Account
from cortexops.settings import Settings

_PATIENCE = 6.0  # seconds for each engine
_NATS = "start it; settings: nats.url"
_LAW, _FATES, _PARTITIONS, _OWNERS, _PARKED = (
    "books: messages",
    "books: signals",
    "partitions",
    "partition owners",
    "parked messages",
)


async def books(configured: Settings) -> list[Finding]:
    """Findings on NATS and on what only NATS and Postgres together can tell. Raises nothing for either
    being away."""
    try:
        async with asyncio.timeout(_PATIENCE):
            async with stream_watcher(configured.nats) as watcher:
                scene = await watcher.scene()
            async with await Parking.connect(configured.nats) as parking:
                _, parked, _ = await parking.extent()
    except NotFound as error:
        return [Finding(True, "NATS", "answers"), Finding(False, _PARTITIONS, str(error), "start a gateway")]
    except TimeoutError:
        return [Finding(False, "NATS", f"does not answer within {_PATIENCE:g} s", _NATS)]
    except (CortexError, OSError) as error:
        return [Finding(False, "NATS", str(error), _NATS)]
    findings = [Finding(True, "NATS", "answers"), divided(configured.nats.partitions, scene.partitions)]
    findings.append(_parked(parked))
    try:
        async with asyncio.timeout(_PATIENCE):
            account, owners = await _kept(configured, scene.state.identity)
    except (CortexError, OSError, TimeoutError) as error:
        why = str(error) or type(error).__name__
        return [*findings, Finding(False, _LAW, f"cannot be checked: {why}", "see Postgres")]
    return [*findings, owned(scene.partitions, owners), *balanced(scene, account)]


async def _kept(configured: Settings, identity: str) -> tuple[Account, dict[int, str]]:
    from cortexops.adapters.postgres import PostgresStore

    store = await PostgresStore.connect(configured.postgres.dsn.get_secret_value())
    try:
        account = await store.account(identity)
        owners = {number: owner for number, owner, _ in await store.owners(identity)}
    finally:
        await store.close()
    return account, owners


def divided(wanted: int, present: int) -> Finding:
    """Whether the stream is divided as the settings say."""
    if wanted == present:
        return Finding(True, _PARTITIONS, f"{present}, as the settings say")
    return Finding(
        False,
        _PARTITIONS,
        f"the stream has {present}, nats.partitions is {wanted}",
        "give all processes the same nats.partitions; see docs/operations.md, Scaling, before changing it",
    )


def owned(partitions: int, owners: dict[int, str]) -> Finding:
    """Whether every partition has an owner that lives."""
    without = [number for number in range(partitions) if not owners.get(number)]
    names = len({owner for number, owner in owners.items() if owner and number < partitions})
    if not without:
        return Finding(True, _OWNERS, f"{names} correlators own all {partitions}")
    return Finding(
        False,
        _OWNERS,
        f"nobody reads partition {', '.join(map(str, without))}",
        "start a correlator; after a crash its leases pass on within correlator.lease_seconds",
    )


def balanced(scene: Scene, account: Account) -> list[Finding]:
    """The law, and the signals by fate."""
    verdict = conservation(scene.state.last, account, scene.backlog, scene.unread)
    remedy = "" if verdict.holds else "was the stream purged, or read by another program? Keep both logs"
    return [
        Finding(verdict.holds, _LAW, f"{verdict.law}: {verdict.explanation}", remedy),
        Finding(True, _FATES, verdict.fates_sum),
    ]


def _parked(number: int) -> Finding:
    """They are for people to look at, so they are said, but they are no fault of the installation."""
    if not number:
        return Finding(True, _PARKED, "none")
    return Finding(True, _PARKED, f"{number}: cortexops parked list")
