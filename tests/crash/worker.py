"""`python -m tests.crash.worker`: real remediation workers that die where they are told to.

The process imports everything once and forks a child for each JSON line on its standard input (a `Job`), so
that a fresh worker costs milliseconds. It answers `{"pid": …}` for each, `{"ended": pid, "status": …}` when
one ends, and ends with its input. It stays single-threaded: only children start event loops.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, cast

from pydantic import SecretStr
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from activities import errors
from activities.actions import ACTIONS
from activities.guarded import GuardedRemediation
from cortexops.adapters.git import Git
from cortexops.adapters.git_forge import GitForge
from cortexops.adapters.git_providers import Provider
from cortexops.adapters.kubernetes import KubernetesCluster
from cortexops.adapters.postgres import PostgresStore, migrate
from cortexops.domain.limits import RemediationLimits
from cortexops.domain.outgoing import Destination, outgoing
from cortexops.domain.resource import Frozen
from cortexops.settings_git import GitSettings, RepositorySettings
from tests.crash.calls import Journal, Order, Tripwire, Wired
from tests.crash.story import QUEUE, Story
from tests.git.support import TOKEN

_BEAT = 0.3  # seconds; the story's heartbeat time-out is short as well
_BUILD = "crash"  # otherwise each child hashes all code that is loaded, for a third of a second
_STARTING = 20.0
_PR_SET_PDEATHSIG = 1
_LATE = (
    "concurrent.futures.thread",
    "encodings.idna",
    "kubernetes_asyncio.client",
    "kubernetes_asyncio.config",
    "sqlalchemy.dialects.postgresql.psycopg",
)
"""Modules that are imported when they are first needed."""


class Job(Frozen):
    """One worker. Without `kubeconfig` it is the orchestrator, which runs the story."""

    temporal: str
    queue: str
    dsn: str = ""
    cluster: str = ""
    kubeconfig: str = ""
    journal: str = ""
    order: Order | None = None
    repository: str = ""
    """Path of the Git repository that changes are proposed in, if any; `provider` takes the pull requests."""
    provider: str = ""


async def _connected(address: str) -> Client:
    async with asyncio.timeout(_STARTING):
        while True:
            try:
                return await Client.connect(address, data_converter=pydantic_data_converter)
            except RuntimeError:  # it is being started again
                await asyncio.sleep(0.1)


async def _work(job: Job) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    client = await _connected(job.temporal)
    if not job.kubeconfig:
        async with Worker(
            client,
            task_queue=QUEUE,
            workflows=[Story],
            build_id=_BUILD,
            sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),  # for its successor, after a kill
        ):
            await ended.wait()
        return
    errors._BEAT = _BEAT
    store = await PostgresStore.connect(job.dsn, pool_size=2)
    cluster = await KubernetesCluster.connect(job.cluster, job.kubeconfig)
    tripwire = Tripwire(Journal(Path(job.journal)), job.order)
    books, wired = cast(Any, Wired(store, tripwire)), cast(Any, Wired(cluster, tripwire))
    limits = RemediationLimits(at_once=100_000, queued=100_000)
    acts = GuardedRemediation({job.cluster: wired}, books, limits)
    if job.repository:
        acts.forge = _forge(job, tripwire)
    try:
        async with Worker(
            client,
            task_queue=job.queue,
            activities=[acts.dry_run, acts.apply, acts.verify, acts.compensate],
            build_id=_BUILD,
            max_concurrent_activity_task_polls=1,
            graceful_shutdown_timeout=timedelta(seconds=1),
            max_heartbeat_throttle_interval=timedelta(seconds=_BEAT),  # else 0.8 of the time-out
        ):
            await ended.wait()
    finally:
        await cluster.close()
        await store.close()


def _forge(job: Job, tripwire: Tripwire) -> Any:
    """With the steps within a proposal as calls of their own: the push, and the pull request."""
    tripwire.around(Git, "run", lambda _, verb, *rest: verb if verb == "push" else None)
    tripwire.around(Provider, "open", lambda *_: "open")
    tripwire.around(Provider, "close", lambda *_: "close")
    where = RepositorySettings(
        url=job.repository,
        provider="github",
        api_url=job.provider,
        project="shop/deploy",
        token=SecretStr(TOKEN),
    )
    return Wired(GitForge(GitSettings(repositories=[where])), tripwire)


def _child(job: Job, parent: int) -> NoReturn:
    """What goes wrong ends the child with its traceback on standard error. It never outlives its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(1)  # the parent died before the signal was armed
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    asyncio.run(_work(job))
    sys.exit(0)


def _say(**line: object) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")


def _warm_up() -> None:
    """What every child would load for itself: plug-ins, large libraries, patterns of secrets, the migrations."""
    list(ACTIONS)
    for name in _LATE:
        importlib.import_module(name)
    outgoing("more than words: a=1", Destination.AUDIT)
    migrate.head()
    gc.collect()
    gc.freeze()  # children share these pages


def main() -> int:
    """Fork on demand until the input ends; then end the children."""
    _warm_up()
    me = os.getpid()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(writer)
    children: set[int] = set()
    waiting = b""
    while True:
        ready, _, _ = select.select([0, reader], [], [])
        if reader in ready:
            os.read(reader, 4096)
            _reap(children)
        if 0 in ready:
            read = os.read(0, 65536)
            if not read:
                break
            *lines, waiting = (waiting + read).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    _child(Job.model_validate_json(line), me)
                children.add(pid)
                _say(pid=pid)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return 0


def _reap(children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        children.discard(pid)
        _say(ended=pid, status=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    sys.exit(main())
