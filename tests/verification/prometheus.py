"""A real Prometheus on a free port, scraping an exporter whose values change on command."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

from sandbox.engines.ports import free_port

BINARY = shutil.which("prometheus") or ""
PROMTOOL = shutil.which("promtool") or ""
MISSING = "" if BINARY else "needs a prometheus binary on the PATH (Debian: prometheus)"
POD = "api-5d9c7b6f4-x2v4z"
RATE = 400  # requests a second


class Traffic:
    """Requests to the pods of one namespace; counters move with the clock."""

    def __init__(self) -> None:
        self.failing = 0.0
        """Share of requests that fail."""
        self.queue = 1.0
        """A gauge."""
        self.silent = False
        self._at = time.monotonic()
        self._good = self._bad = 0.0

    def fail(self, share: float) -> None:
        self.advance()
        self.failing = share

    def advance(self) -> tuple[float, float]:
        now = time.monotonic()
        requests, self._at = (now - self._at) * RATE, now
        self._bad += requests * self.failing
        self._good += requests * (1 - self.failing)
        return self._good, self._bad


class Exporter:
    """Serves the traffic of all namespaces to Prometheus."""

    def __init__(self) -> None:
        self._traffic: dict[str, Traffic] = {}
        self._lock = threading.Lock()

    def traffic(self, namespace: str) -> Traffic:
        with self._lock:
            return self._traffic.setdefault(namespace, Traffic())

    def text(self) -> str:
        lines = []
        with self._lock:
            for namespace, traffic in self._traffic.items():
                if traffic.silent:
                    continue
                good, bad = traffic.advance()
                labels = f'namespace="{namespace}",pod="{POD}"'
                lines += [
                    f'http_requests_total{{{labels},code="200"}} {good}',
                    f'http_requests_total{{{labels},code="500"}} {bad}',
                    f"queue_length{{{labels}}} {traffic.queue}",
                ]
        return "\n".join(lines) + "\n"


@contextmanager
def exporting(exporter: Exporter) -> Iterator[int]:
    """Its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = exporter.text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Server:
    """A running Prometheus."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, exporter: Exporter) -> None:
        self._process = process
        self.url = url
        self.exporter = exporter

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def prometheus(folder: Path) -> Iterator[Server]:
    """Scrapes five times a second. Raises `RuntimeError` when it does not start."""
    exporter = Exporter()
    with exporting(exporter) as exporter_port:
        port = free_port()
        config = folder / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
            "scrape_configs:\n"
            "  - job_name: test\n"
            f"    static_configs: [{{targets: ['127.0.0.1:{exporter_port}']}}]\n",
            encoding="utf-8",
        )
        with (folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    BINARY,
                    f"--config.file={config}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--log.level=warn",
                ],
                stdout=log,
                stderr=log,
            )
        server = Server(process, f"http://127.0.0.1:{port}", exporter)
        try:
            _ready(server.url, process)
            yield server
        finally:
            server.kill()


def _ready(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until it has scraped twice: the first scrape comes some time after the start."""
    until = time.monotonic() + 30
    query = {"query": "count_over_time(up[1m]) >= 2"}
    while time.monotonic() < until and process.poll() is None:
        try:
            answer = httpx.get(f"{url}/api/v1/query", params=query, timeout=1, trust_env=False)
            if answer.status_code == 200 and answer.json()["data"]["result"]:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise RuntimeError("prometheus did not start")
