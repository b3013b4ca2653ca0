"""A system account for Postgres, which refuses to run as root."""

from __future__ import annotations

import logging
import os
import pwd
import stat
import subprocess
import time
from pathlib import Path

from cortexops.domain.errors import PermanentError
from sandbox.engines.launch import RunAs

ACCOUNT = "cortexops_pg"
_log = logging.getLogger(__name__)


def postgres_account() -> RunAs | None:
    """The account to run Postgres as: None (ourselves) unless we are root, then one made for it.

    Raises PermanentError when root cannot make one.
    """
    if os.geteuid() != 0:
        return None
    entry = _find() or _create()
    return RunAs(uid=entry.pw_uid, gid=entry.pw_gid)


def make_reachable(path: Path, *, ours: Path | None = None) -> None:
    """Let the other account pass through the folders above `path`.

    Each folder that had to be changed is logged, except those of our own data folder `ours`.

    Only the right to pass is added, not to list or read. Needed as root alone, where homes are often closed.
    """
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)
            if ours is not None and folder.is_relative_to(ours.resolve()):
                continue
            _log.warning(
                "%s may now be passed through by other accounts: Postgres does not run as root", folder
            )


def _find() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None


def _create() -> pwd.struct_passwd:
    reason = ""
    for _ in range(5):  # the account database is locked while another process adds to it
        try:
            subprocess.run(
                ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", ACCOUNT],
                check=True, capture_output=True, text=True, timeout=20,
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            reason = str(error.stderr).strip()
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
        if (entry := _find()) is not None:
            return entry
        time.sleep(0.2)
    raise PermanentError(
        f"Postgres does not run as root, and the system account {ACCOUNT} could not be made ({reason}); "
        "make it by hand, or run as another user"
    )
