"""One supervised child process: start, wait until ready, stop, kill, start again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from cortexops.domain.errors import PermanentError, TemporaryError
from sandbox.engines.launch import RunAs, launch_command
from sandbox.engines.orphans import end_orphan, remember

Probe = Callable[[], Awaitable[str | None]]  # None when ready, else what is missing

_POLL = 0.03  # seconds between looks at a process that is starting or stopping
_KEPT_LOGS = 3
_LOG_TAIL = 600  # characters of the log quoted when an engine fails to start


class ChildProcess:
    """A child in a session of its own, so that Ctrl-C reaches the owner and the owner stops it in order.

    The log goes to `log_dir/NAME.log` (three older ones are kept) and the process id to `run_dir/NAME.pid`.
    Call `start` from a thread that lives as long as the child should (see `launch_command`).
    """

    def __init__(
        self,
        name: str,
        *,
        run_dir: Path,
        log_dir: Path,
        cwd: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGKILL,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._pid_file = run_dir / f"{name}.pid"
        self._log = log_dir / f"{name}.log"
        self._cwd = cwd
        self._stop_signal = stop_signal
        self._death_signal = death_signal
        self._environment = dict(environment or {})
        self.run_as: RunAs | None = None  # another account, where we are root and the engine must not be
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while the child runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """How the last run ended (negative: by that signal), None while it runs or before the first."""
        return self._process.poll() if self._process is not None else None

    def adopt_environment(self, environment: Mapping[str, str]) -> None:
        """Variables for the next start, besides PATH and TZ: the child inherits nothing else of ours."""
        self._environment = dict(environment)

    async def start(self, command: Sequence[str], ready: Probe, *, deadline: float = 20.0) -> None:
        """Run `command` and wait until `ready` says so, at most `deadline` seconds.

        Raises PermanentError quoting the end of the log when the child exits, TemporaryError when it is not
        ready in time. Either way nothing keeps running.
        """
        if self.running:
            raise PermanentError(f"{self.name} is already running (pid {self.pid})")
        await end_orphan(self._pid_file)
        self._rotate_log()
        self._spawn(command)
        try:
            await self._await_ready(ready, deadline)
        except BaseException:
            await self.stop(deadline=1.0)
            raise

    def _spawn(self, command: Sequence[str]) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                launch_command(command, death_signal=self._death_signal, run_as=self.run_as),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._cwd,
                env={"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC", **self._environment},
                start_new_session=True,
            )
        remember(self._pid_file, self._process.pid)

    async def _await_ready(self, ready: Probe, deadline: float) -> None:
        end = time.monotonic() + deadline
        while True:
            if not self.running:
                raise PermanentError(f"{self.name} exited with {self.returncode}: {self.log_tail()}")
            reason = await ready()
            if reason is None and self.running:
                return
            if time.monotonic() > end:
                raise TemporaryError(f"{self.name} was not ready after {deadline:g} s: {reason}")
            await asyncio.sleep(_POLL)

    async def stop(self, *, deadline: float = 10.0) -> None:
        """Ask the child to end, and kill its whole group after `deadline` seconds. Harmless when stopped."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(self._stop_signal)
            end = time.monotonic() + deadline
            try:
                while process.poll() is None and time.monotonic() < end:  # noqa: ASYNC110
                    await asyncio.sleep(_POLL)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._pid_file.unlink(missing_ok=True)

    def kill9(self) -> int:
        """End the child at once, as a crash would (for drills); answers the process id it had.

        Raises PermanentError when it is not running.
        """
        if self._process is None or not self.running:
            raise PermanentError(f"{self.name} is not running")
        self._process.kill()
        self._process.wait()
        return self._process.pid

    def log_tail(self) -> str:
        """The last lines of the log."""
        try:
            return self._log.read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:].strip()
        except FileNotFoundError:
            return ""

    def _rotate_log(self) -> None:
        for age in range(_KEPT_LOGS, 0, -1):
            older = self._log.with_name(f"{self._log.name}.{age}")
            newer = self._log if age == 1 else self._log.with_name(f"{self._log.name}.{age - 1}")
            if newer.exists():
                newer.replace(older)
