"""A bundle that may change while the process runs: another one takes over only when it is proven."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from cortexops.adapters.policy_bundle import Bundle, load_bundle
from cortexops.adapters.policy_invariants import faults
from cortexops.adapters.policy_regorus import RegorusPolicy
from cortexops.domain.errors import CortexError, PermanentError
from cortexops.domain.policy import PolicyDecision, PolicyInput
from cortexops.metrics import POLICY_RELOADS
from cortexops.telemetry import get_logger

Noted = Callable[[str, str], Awaitable[None]]
"""Told (engine, revision) when another bundle has taken over."""
_log = get_logger(__name__)


class _Generation:
    """One engine, and how many questions are with it: it is closed when the last has its answer."""

    def __init__(self, engine: RegorusPolicy) -> None:
        self.engine = engine
        self.asking = 0
        self.retired = False

    async def release(self) -> None:
        if self.retired and not self.asking:
            await self.engine.close()


class ReloadingPolicy:
    """`PolicyEngine` over regorus that follows its folder. Use it from one event loop.

    A changed bundle is compiled, its own tests and the invariants are run, and only then it answers; every
    question is answered by one bundle as a whole. One that is refused leaves the one before in force.
    """

    name = "regorus"

    def __init__(self, path: Path, overrides: Path | None = None, *, timeout_seconds: float = 5.0) -> None:
        """Raises `PermanentError` for a first bundle that does not parse or answer."""
        self._path, self._overrides, self._timeout = path, overrides, timeout_seconds
        self._seen = fingerprint(path, overrides)
        self._unproven = ""
        self._refused = ""
        self._now = _Generation(self._engine(load_bundle(path, overrides)))
        self._watching: asyncio.Task[None] | None = None

    @property
    def revision(self) -> str:
        return self._now.engine.revision

    @property
    def refused(self) -> str:
        """Why the bundle in the folder is not the one that decides; empty when it is."""
        return self._refused

    def watch(self, every_seconds: float, noted: Noted | None = None) -> None:
        """Look at the folder so often from now on, until closed."""
        self._watching = asyncio.create_task(self._watch(every_seconds, noted))

    async def evaluate(self, question: PolicyInput) -> PolicyDecision:
        generation = self._now
        generation.asking += 1
        try:
            return await generation.engine.evaluate(question)
        finally:
            generation.asking -= 1
            await generation.release()

    async def health(self) -> str | None:
        return await self._now.engine.health()

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        await self._now.engine.close()

    async def look(self) -> bool:
        """Look once. True when another bundle has taken over. A folder that is being written is left alone
        until two looks in a row find the same."""
        try:
            found = await asyncio.to_thread(fingerprint, self._path, self._overrides)
        except CortexError as error:
            found, problem = "", str(error)
            if self._seen != found:
                self._refuse(found, problem)
            return False
        if found == self._seen:
            self._unproven = ""
            return False
        if found != self._unproven:
            self._unproven = found
            return False
        return await self._prove(found)

    async def _prove(self, found: str) -> bool:
        try:
            bundle = await asyncio.to_thread(load_bundle, self._path, self._overrides)
            problems = await asyncio.to_thread(faults, bundle)
        except CortexError as error:
            problems = [str(error)]
        if problems:
            self._refuse(found, "; ".join(problems[:5]))
            return False
        self._seen, self._refused = found, ""
        if bundle.revision == self.revision:
            return False  # only tests or comments of the data changed
        before, self._now = self._now, _Generation(self._engine(bundle))
        before.retired = True
        await before.release()
        POLICY_RELOADS.labels(result="taken").inc()
        _log.info("policy changed", revision=self.revision, before=before.engine.revision)
        return True

    def _refuse(self, found: str, why: str) -> None:
        self._seen, self._refused = found, why
        POLICY_RELOADS.labels(result="refused").inc()
        _log.error("changed policy refused; the one before stays in force", why=why, revision=self.revision)

    def _engine(self, bundle: Bundle) -> RegorusPolicy:
        return RegorusPolicy(bundle, timeout_seconds=self._timeout)

    async def _watch(self, every_seconds: float, noted: Noted | None) -> None:
        while True:
            await asyncio.sleep(every_seconds)
            try:
                if await self.look() and noted is not None:
                    await noted(self.name, self.revision)
            except (CortexError, OSError) as error:
                _log.error("looking for a changed policy failed", error=str(error))


def fingerprint(path: Path, overrides: Path | None = None) -> str:
    """A hash of the bundle's files as they are. Raises `PermanentError` when they cannot be read."""
    found = hashlib.sha256()
    try:
        if not path.is_dir():
            raise PermanentError(f"policies: {path} is not a folder")
        files = [
            file
            for file in sorted(path.rglob("*.rego"))
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
        data = path / "data.json"
        files += [data] if data.exists() else []
        files += [overrides] if overrides is not None else []
        for file in files:
            content = file.read_bytes()
            found.update(f"{file}\0{len(content)}\0".encode() + content)
    except OSError as error:
        raise PermanentError(f"policies: {path} cannot be read: {error}") from None
    return found.hexdigest()
