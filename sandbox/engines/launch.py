"""Start one engine so that it cannot outlive the process that started it.

Used as a script between us and the engine: it arms the kernel's parent-death signal, drops root where asked,
and becomes the engine. A script rather than a `preexec_fn`, because running Python between fork and exec is
unsafe as soon as the parent has threads (and the Temporal client always has).

It imports the standard library only and runs with `-I -S`, which costs about 10 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class RunAs:
    """The system account that an engine runs as."""

    uid: int
    gid: int


def launch_command(
    command: Sequence[str], *, death_signal: signal.Signals = signal.SIGKILL, run_as: RunAs | None = None
) -> list[str]:
    """The command line that runs `command` bound to the life of the calling thread's process.

    The kernel binds to the *thread* that starts the child: start engines from a thread that lives as long as
    they should, in practice the main one.
    """
    account = f"{run_as.uid}:{run_as.gid}" if run_as else "-"
    return [
        sys.executable, "-I", "-S", __file__,
        str(os.getpid()), str(int(death_signal)), account, "--", *command,
    ]  # fmt: skip


def _become(arguments: Sequence[str]) -> None:
    parent, death_signal, account, _, *command = arguments
    if account != "-":
        uid, gid = (int(part) for part in account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After the change of user: the kernel clears this setting whenever credentials change.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != int(parent):
            sys.exit(1)  # the parent died before the signal was armed
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    _become(sys.argv[1:])
