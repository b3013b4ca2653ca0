"""What memory asks of a Qdrant server, and how it takes refusals."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from cortexops.adapters.qdrant import QdrantMemory
from cortexops.domain.errors import PermanentError, TemporaryError


class _Answers(BaseHTTPRequestHandler):
    """Refuses without the key; then speaks just enough of Qdrant's REST interface to be asked."""

    seen: list[tuple[str, str, Any]]

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        self.seen.append((self.command, self.path, body))
        if self.headers.get("api-key") != "right":
            self._send(403, {"status": {"error": "forbidden"}})
        elif self.path.endswith("/exists"):
            self._send(200, {"result": {"exists": False}, "status": "ok", "time": 0})
        elif self.path.endswith("/points/query"):
            self._send(503, {"status": {"error": "busy"}})
        elif self.path.partition("?")[0].endswith("/index"):
            done = {"operation_id": 1, "status": "completed"}
            self._send(200, {"result": done, "status": "ok", "time": 0})
        else:
            self._send(200, {"result": True, "status": "ok", "time": 0})

    do_GET = do_PUT = do_POST = _answer

    def _send(self, status: int, body: Any) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        return


async def test_a_server_gets_a_hybrid_collection_and_its_refusals_are_told_apart() -> None:
    _Answers.seen = []
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    thread = Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        with pytest.raises(PermanentError, match="refuses the key"):
            await QdrantMemory.connect(url=url, api_key="wrong")
        memory = await QdrantMemory.connect(url=url, api_key="right")
        with pytest.raises(TemporaryError, match="503"):
            await memory.recall("OOM kill on Deployment shop/api", cluster="test")
        await memory.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    created = next(
        body for verb, path, body in _Answers.seen if verb == "PUT" and path.endswith("/cortexops_cases_v1")
    )
    assert created["vectors"]["form"] == {"size": 256, "distance": "Cosine"}
    assert created["sparse_vectors"]["terms"]["modifier"] == "idf"
    indexed = {
        body["field_name"] for _, path, body in _Answers.seen if path.partition("?")[0].endswith("/index")
    }
    assert indexed == {"verified"}
