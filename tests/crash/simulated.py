"""`python -m tests.crash.simulated`: the simulated cluster as a process that may be killed and started again.

Beside what `sandbox.cluster` does it writes each accepted writing request to `audit.jsonl`, and each change of
an object to `changes.jsonl` before the request is answered, so that after a kill -9 it goes on with the same
objects, tokens and certificate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pickle
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

from aiohttp import web

from sandbox.cluster.authz import Identity, default_identities
from sandbox.cluster.certificate import Tls, make_tls
from sandbox.cluster.simulation import SimulatedCluster
from sandbox.cluster.store import Change, Store

ROLES = ("remediator", "investigator")
"""Of `cortexops rbac`. Who needs them imports them from here: this process is to start quickly."""
NODES = 9
"""One for everybody, the others lent to one run at a time."""
_NEVER = 1e6  # seconds; a busy machine must not make a kubelet late and its pods go


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.simulated", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    return asyncio.run(_run(options.folder, options.port))


async def _run(folder: Path, port: int) -> int:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    simulated = SimulatedCluster("simulated", port, speed=4, nodes=NODES, eviction_seconds=_NEVER)
    server = simulated.server
    _same_identities(folder, server)
    _same_certificate(folder, server)
    _kept(folder / "changes.jsonl", server.store)
    _audited(folder / "audit.jsonl", server)
    async with simulated:
        simulated.kubeconfig(folder / "admin.kubeconfig")
        for role in ROLES:
            simulated.kubeconfig(folder / f"{role}.kubeconfig", f"cortexops-{role}")
        ready = {"url": simulated.url, "authority": server.authority, "pid": os.getpid()}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await ended.wait()
    return 0


def _same_identities(folder: Path, server: Any) -> None:
    kept = folder / "identities.pickle"  # our own file, in a folder of this run
    if not kept.exists():
        known = default_identities()
        kept.touch(mode=0o600)
        kept.write_bytes(pickle.dumps([*known, *(Identity(f"cortexops-{role}") for role in ROLES)]))
    server.authorizer._identities[:] = pickle.loads(kept.read_bytes())


def _same_certificate(folder: Path, server: Any) -> None:
    kept = folder / "server.pem"
    if kept.exists():
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(kept)
        server._tls = Tls(context, (folder / "authority.pem").read_text("ascii"))
        return
    load = ssl.SSLContext.load_cert_chain

    def copied(self: ssl.SSLContext, path: Any, *arguments: Any) -> None:
        kept.touch(mode=0o600)
        kept.write_bytes(Path(path).read_bytes())
        load(self, path, *arguments)

    ssl.SSLContext.load_cert_chain = copied  # type: ignore[method-assign,assignment]
    try:
        server._tls = make_tls("127.0.0.1")
    finally:
        ssl.SSLContext.load_cert_chain = load  # type: ignore[method-assign]
    (folder / "authority.pem").write_text(server.authority, "ascii")


def _kept(path: Path, store: Store) -> None:
    if path.exists():
        _restore(path, store)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(change: Change) -> None:
        line = [change.version, change.resource, *change.key, change.after]
        os.write(file, json.dumps(line).encode() + b"\n")

    store.subscribe(write)


def _restore(path: Path, store: Store) -> None:
    """As the store was when the process died; a last line that is torn was never answered."""
    for line in path.read_bytes().split(b"\n"):
        try:
            version, resource, namespace, name, after = json.loads(line)
        except ValueError:
            continue
        store.version = version - 1
        if after is None:
            store.delete(resource, namespace, name)
        else:
            store.put(resource, namespace, name, after)


def _audited(path: Path, server: Any) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    handle = server._api.handle

    async def recorded(request: web.Request) -> web.StreamResponse:
        answer: web.StreamResponse = await handle(request)
        if request.method not in ("GET", "HEAD"):
            who = server.authorizer.authenticate(request.headers.get("Authorization"))
            line = {
                "user": who.name,
                "method": request.method,
                "uri": request.path_qs,
                "status": answer.status,
                "dry": b'"dryRun"' in await request.read(),
            }
            os.write(file, json.dumps(line).encode() + b"\n")
        return answer

    server._api.handle = recorded


if __name__ == "__main__":
    sys.exit(main())
