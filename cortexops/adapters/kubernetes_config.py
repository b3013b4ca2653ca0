"""Which API server to talk to, and as whom: kubeconfig files and the pod's own service account."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from cortexops.domain.errors import InvalidInput

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Access(NamedTuple):
    """A loaded configuration, and how to renew its credentials (None: they renew themselves)."""

    configuration: Any
    renew: Callable[[], Awaitable[None]] | None


def is_loopback(url: str) -> bool:
    """Whether the server is on this machine, which no proxy can reach on our behalf."""
    return (urlsplit(url).hostname or "") in _LOOPBACK


def _paths(kubeconfig: str | None) -> str | None:
    """The kubeconfig to use; None means the pod's service account."""
    if kubeconfig:
        return kubeconfig
    if os.environ.get("KUBECONFIG"):
        return os.environ["KUBECONFIG"]
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return None
    return str(Path.home() / ".kube" / "config")


def _check(paths: str, context: str | None) -> str:
    """The context to use. Refuses what the loader would refuse with a text that may quote a credential.

    Of several files the first that names a current context counts, as for kubectl; where none does, the only
    context there is.
    """
    present = [Path(path).expanduser() for path in paths.split(os.pathsep) if path]
    present = [path for path in present if path.exists()]
    if not present:
        raise InvalidInput("kubeconfig", f"no such file: {paths}")
    contexts: list[str] = []
    current = ""
    for path in present:
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise InvalidInput(
                "kubeconfig", f"{path} is not readable YAML ({type(error).__name__})"
            ) from None
        if not isinstance(document, dict):
            raise InvalidInput("kubeconfig", f"{path} is not a kubeconfig: a mapping is expected")
        for entry in document.get("contexts") or []:
            if isinstance(entry, dict):
                contexts.append(str(entry.get("name")))
        current = current or str(document.get("current-context") or "")
    wanted = context or current or (contexts[0] if len(set(contexts)) == 1 else "")
    if wanted not in contexts:
        field = "context" if context else "kubeconfig"
        raise InvalidInput(field, f"no context {wanted!r}; known: {', '.join(contexts) or 'none'}")
    return wanted


async def load_access(kubeconfig: str | None, context: str | None) -> Access:
    """Load credentials. Raises `InvalidInput` with a text that holds no credential."""
    from kubernetes_asyncio import config
    from kubernetes_asyncio.client import Configuration

    configuration = Configuration()
    # client-go accepts certificates that only the strict profile of newer Pythons refuses
    configuration.disable_strict_ssl_verification = True
    paths = _paths(kubeconfig)
    try:
        if paths is None:
            config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            return Access(configuration, None)
        context = _check(paths, context)
        loader = await config.load_kube_config(
            config_file=paths, context=context, client_configuration=configuration, persist_config=False
        )
    except config.ConfigException as error:
        missing = re.search(r"Expected (?:key|object with name) (\S+)", str(error))
        detail = f"{missing[1]} is missing" if missing else "the credentials cannot be loaded"
        raise InvalidInput("kubeconfig", detail) from None
    except (ValueError, TypeError, KeyError, AttributeError, AssertionError, OSError) as error:
        # a field of another type, base64 that is none, a file that is not there: its text may quote a secret
        raise InvalidInput("kubeconfig", f"the credentials cannot be read ({type(error).__name__})") from None

    async def renew() -> None:
        await loader.load_and_set(configuration)

    return Access(configuration, renew)
