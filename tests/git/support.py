"""A real bare repository, and a provider of pull requests that speaks the three APIs on the wire."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "ghp-token-of-the-test"
WHO = ("-c", "user.name=Team", "-c", "user.email=team@example.com")
MANIFEST = """\
# owned by team-shop
apiVersion: apps/v1
kind: Deployment
metadata:
  name: api
spec:
  template:
    spec:
      containers:
      - name: main
        image: r.local/api:1.0  # bumped by CI
        resources:
          limits:
            memory: 128Mi
          requests:
            memory: 64Mi
"""


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *WHO, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    return done.stdout


def bare_repository(folder: Path, files: dict[str, str]) -> Path:
    """A bare repository whose branch main has the files."""
    work, bare = folder / "seed", folder / "origin.git"
    work.mkdir()
    git(work, "init", "--quiet", "--initial-branch", "main")
    for name, text in files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "-m", "the manifests")
    git(folder, "clone", "--quiet", "--bare", str(work), str(bare))
    return bare


def branches(bare: Path) -> dict[str, str]:
    """Branch → commit."""
    listed = git(bare, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
    return dict(line.split(" ") for line in listed)


class Requests:
    """The provider's state: its pull requests, every call made, and a status to answer instead."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.made: list[dict[str, Any]] = []
        self.calls: list[tuple[str, str]] = []
        self.broken: int | None = None
        self.url = ""

    def shown(self, one: dict[str, Any]) -> dict[str, Any]:
        url = f"https://git.example.com/shop/deploy/{one['number']}"
        if self.kind == "gitlab":
            state = {"open": "opened"}.get(one["state"], one["state"])
            return {
                "iid": one["number"],
                "web_url": url,
                "state": state,
                "source_branch": one["branch"],
                "sha": "",
            }
        return {
            "number": one["number"],
            "html_url": url,
            "state": "open" if one["state"] == "open" else "closed",
            "merged_at": "2026-01-01T00:00:00Z" if one["state"] == "merged" else None,
            "head": {"ref": one["branch"], "sha": ""},
        }

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        self.calls.append((method, path))
        if self.broken is not None:
            return self.broken, {"message": f"broken, said to {TOKEN}"}
        if method == "GET":
            wanted = (query.get("head") or query.get("source_branch") or [""])[0].rpartition(":")[2]
            return 200, [self.shown(one) for one in self.made if wanted in ("", one["branch"])]
        if method == "POST":
            branch = body["source_branch" if self.kind == "gitlab" else "head"]
            if any(one["branch"] == branch and one["state"] == "open" for one in self.made):
                return (409 if self.kind == "gitlab" else 422), {"message": "a pull request already exists"}
            self.made.append({"number": len(self.made) + 1, "branch": branch, "state": "open", "sent": body})
            return 201, self.shown(self.made[-1])
        one = self.made[int(path.rpartition("/")[2]) - 1]
        one["state"] = "closed"
        return 200, self.shown(one)


@contextmanager
def provider(kind: str) -> Iterator[Requests]:
    """The provider on a free port of the loopback."""
    state = Requests(kind)
    root = {
        "github": "/repos/shop/deploy/pulls",
        "gitea": "/api/v1/repos/shop/deploy/pulls",
        "gitlab": "/api/v4/projects/shop/deploy/merge_requests",
    }[kind]

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            parts = urlsplit(self.path)
            size = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(size)) if size else None
            known = TOKEN in (self.headers.get("Authorization", "") + self.headers.get("PRIVATE-TOKEN", ""))
            path = unquote(parts.path)
            if not known:
                code, answer = 401, {"message": "bad credentials"}
            elif not path.startswith(root):
                code, answer = 404, {"message": "not found"}
            else:
                code, answer = state.answer(self.command, path, parse_qs(parts.query), body)
            text = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_PUT = _do

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
