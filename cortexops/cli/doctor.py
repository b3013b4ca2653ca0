"""`cortexops doctor`: what is missing, and how to mend it."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import cortexops
from cortexops.cli.books import books
from cortexops.cli.common import settings
from cortexops.cli.findings import Finding
from cortexops.domain.errors import CortexError, TemporaryError
from cortexops.settings import Settings

PACKAGES = ("workflows", "activities", "workers", "ingest", "console", "sandbox")
"""Top-level names that other distributions use too: whichever is installed last wins."""
_PATIENCE = 6.0  # seconds for each check


def packages() -> list[Finding]:
    """Whether each top-level package is ours: it must stand beside the `cortexops` package."""
    home = Path(cortexops.__file__).resolve().parent.parent
    findings = []
    for name in PACKAGES:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            findings.append(Finding(False, f"package {name}", str(error), "install cortexops again"))
            continue
        file = Path(module.__file__ or "").resolve()
        ours = file.parent.parent == home
        findings.append(
            Finding(
                ours,
                f"package {name}",
                str(file),
                ""
                if ours
                else "another distribution installed this name: use a virtual environment of our own",
            )
        )
    return findings


def python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding(good, "Python", sys.version.split()[0], "" if good else "use Python 3.11 or newer")


def extras() -> Finding:
    """Whether the embedded engines are there. Only `up`, `demo` and `drills` need them, so it is no fault
    when they are not: containers come without."""
    from sandbox.engines.extra import require_extra

    try:
        require_extra()
    except CortexError as error:
        return Finding(True, "embedded engines", f"not installed; for up, demo and drills: {error}")
    return Finding(True, "embedded engines", "installed")


async def _reach(what: str, remedy: str, probe: Callable[[], Awaitable[str | None]]) -> Finding:
    """One check. Whatever it meets is its own finding and hides no other."""
    try:
        async with asyncio.timeout(_PATIENCE):
            problem = await probe()
    except TimeoutError:
        problem = f"does not answer within {_PATIENCE:g} s"
    except (CortexError, OSError) as error:
        problem = str(error) or type(error).__name__
    except ImportError as error:
        problem = f"a package is missing: {error.name}"
    return Finding(problem is None, what, problem or "answers", "" if problem is None else remedy)


def _runbooks(configured: Settings) -> Finding:
    """Whether every runbook file can be used; the others are, whatever one of them holds."""
    from activities.runbooks.building import shelf_of, source_of

    try:
        source_of(configured.runbooks)
        shelf = shelf_of(configured.runbooks)
    except CortexError as error:
        return Finding(False, "runbooks", str(error), "settings: runbooks")
    if shelf.problems:
        more = f" (and {len(shelf.problems) - 1} more)" if len(shelf.problems) > 1 else ""
        return Finding(
            False, "runbooks", f"{shelf.problems[0]}{more}", "mend the file: cortexops runbooks check PATH"
        )
    return Finding(True, "runbooks", f"{len(shelf.runbooks)} can be used")


def _unproven_bundle(configured: Settings) -> str | None:
    """Why workers would not take the bundle in the folder over while they run."""
    from cortexops.adapters.policy import shipped_pack
    from cortexops.adapters.policy_bundle import load_bundle
    from cortexops.adapters.policy_invariants import faults

    bundle = load_bundle(configured.policy.path or shipped_pack(), configured.policy.data)
    found = faults(bundle)
    return f"workers keep the bundle before it: {found[0]}" if found else None


async def examine() -> list[Finding]:
    """Everything that can be checked from here. Raises `InvalidInput` for settings that are wrong."""
    configured = settings()

    async def temporal() -> str | None:
        from cortexops.adapters.temporal import connect

        await connect(configured.temporal)
        return None

    async def postgres() -> str | None:
        from cortexops.adapters.postgres import PostgresStore

        store = await PostgresStore.connect(configured.postgres.dsn.get_secret_value())
        try:
            left = await store.unfinished()
        finally:
            await store.close()
        return f"{len(left)} changes are half done: cortexops incidents show …" if left else None

    async def policy() -> str | None:
        from cortexops.adapters.policy import build_policy

        token = configured.policy.opa_token
        engine = build_policy(
            configured.policy,
            overrides=configured.policy.data,
            opa_token=token.get_secret_value() if token else None,
        )
        try:
            problem = await engine.health()
        finally:
            await engine.close()
        if problem is None and configured.policy.engine == "regorus":
            return await asyncio.to_thread(_unproven_bundle, configured)
        return problem

    findings = [python(), *packages(), extras()]
    findings += await asyncio.gather(
        _reach("Temporal", "start it, or run `cortexops up`; settings: temporal.address", temporal),
        _reach("Postgres", "start it and run `cortexops migrate`; settings: postgres.dsn", postgres),
        _reach("policy", "mend the bundle; settings: policy", policy),
    )
    findings += await books(configured)
    findings.append(_runbooks(configured))
    for cluster in configured.clusters:

        async def reach(
            kubeconfig: Path | None = cluster.kubeconfig, context: str | None = cluster.context
        ) -> str | None:
            from cortexops.adapters.kubernetes import KubernetesCluster

            client = await KubernetesCluster.connect(
                "doctor",
                kubeconfig=str(kubeconfig) if kubeconfig else None,
                context=context,
                request_timeout=4,
            )
            try:
                await client.version()
                if not await client.may("list", "Pod"):
                    raise TemporaryError("the reading identity may not list pods: see `cortexops rbac`")
            finally:
                await client.close()
            return None

        findings.append(
            await _reach(f"cluster {cluster.name}", "check kubeconfig and context of this cluster", reach)
        )
    if not configured.clusters:
        findings.append(Finding(False, "clusters", "none is configured", "settings: clusters"))
    return findings
