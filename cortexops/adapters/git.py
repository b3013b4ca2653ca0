"""The git program: arguments as a list, no shell, no prompt, nobody's configuration, a time limit.

A token travels in the environment of the process, never among its arguments or in an address.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cortexops.domain.errors import Forbidden, InvalidInput, Rejected, TemporaryError

_REFUSED = re.compile(
    r"authentication failed|could not read (username|password)|permission denied|invalid username|"
    r"\b40[13]\b|access denied|protected branch|pre-receive hook declined",
    re.IGNORECASE,
)
_MISSING = re.compile(
    r"repository .*not found|does not appear to be a git repository|does not exist|"
    r"remote branch .* not found|couldn't find remote ref",
    re.IGNORECASE,
)
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")
_KEEP = (
    "PATH",
    "LANG",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
)
_MOST = 4_000_000  # bytes of an answer


def checked_url(url: str) -> str:
    """An address that git may be given. Raises `InvalidInput` for others, such as those that run programs."""
    if urlsplit(url).scheme in ("https", "ssh", "file") or url.startswith("/"):
        if "@" in urlsplit(url).netloc and urlsplit(url).password:
            raise InvalidInput(
                "git.repositories.url", "a password belongs into `token`, not into the address"
            )
        return url
    raise InvalidInput("git.repositories.url", "use an https:// or ssh:// address, or an absolute path")


def checked_ref(name: str) -> str:
    """A branch name that cannot be taken for an option or a range. Raises `InvalidInput` otherwise."""
    if not _REF.fullmatch(name) or ".." in name or "//" in name or name.endswith((".lock", "/", ".")):
        raise InvalidInput("branch", f"{name!r} is no plain branch name")
    return name


class Git:
    """One repository's remote side; each call names the folder that it works in."""

    def __init__(self, url: str, token: str | None = None, timeout_seconds: float = 20) -> None:
        self._url = checked_url(url)
        self._token = token or ""
        self._timeout = timeout_seconds

    @property
    def url(self) -> str:
        return self._url

    async def run(self, folder: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """The command's output. Raises `Forbidden`, `Rejected` or `TemporaryError` when it fails."""
        code, out, err = await self.tried(folder, *arguments, env=env)
        if code == 0:
            return out
        said = f"git {arguments[0]}: {self._masked(err.strip())[-400:] or f'exit {code}'}"
        if _REFUSED.search(err):
            raise Forbidden(said, verb=arguments[0], resource="repository")
        if _MISSING.search(err):
            raise Rejected(said)
        raise TemporaryError(said, delay=timedelta(seconds=2))

    async def tried(
        self, folder: Path, *arguments: str, env: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Exit code, output, and what it complained about. Raises `TemporaryError` when it takes too long."""
        try:
            process = await asyncio.create_subprocess_exec(
                "git",
                "-c", "core.hooksPath=/dev/null",
                "-c", "protocol.ext.allow=never",
                "-c", "core.symlinks=false",
                "-c", "commit.gpgSign=false",
                *arguments,
                cwd=folder,
                env=self._environment(folder) | dict(env or {}),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except FileNotFoundError:
            raise Rejected("the git program is not installed") from None
        try:
            async with asyncio.timeout(self._timeout):
                out, err = await process.communicate()
        except TimeoutError:
            raise TemporaryError(f"git {arguments[0]} took more than {self._timeout:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if len(out) > _MOST:
            raise Rejected(f"git {arguments[0]} answered more than can be looked at")
        return process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace")

    def _environment(self, folder: Path) -> dict[str, str]:
        environment = {name: os.environ[name] for name in _KEEP if name in os.environ}
        environment |= {
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
            "LC_ALL": "C",
        }
        if self._token and self._url.startswith("https://"):
            basic = base64.b64encode(f"x-access-token:{self._token}".encode()).decode()
            environment |= {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"http.{self._url}.extraHeader",
                "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
            }
        return environment

    def _masked(self, text: str) -> str:
        return text.replace(self._token, "***") if self._token else text
