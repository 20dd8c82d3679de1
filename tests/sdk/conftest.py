"""The live server, sources of their own in it, and a small HTTP server that answers as it is told."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.live import live_server

from muniment.sdk.pytest_plugin import audit_events

__all__ = ["Scripted", "audit_events", "live_server", "scripted"]


@dataclass
class Scripted:
    """Answers each request with the next of `plan` (status, headers), then with receipts; keeps what came."""

    url: str = ""
    plan: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    batches: list[list[dict[str, Any]]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    size: int = 0
    root: str = "root"
    seen: dict[str, int] = field(default_factory=dict)
    refuses: str = ""
    hold: threading.Event = field(default_factory=threading.Event)

    def events(self) -> list[dict[str, Any]]:
        return [event for batch in self.batches for event in batch]

    def answer(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        items = []
        for event in events:
            is_new = event["id"] not in self.seen
            if is_new:
                self.seen[event["id"]] = self.size
                self.size += 1
            leaf = base64.b64encode(hashlib.sha256(event["id"].encode()).digest()).decode()
            items.append(
                {"id": event["id"], "index": self.seen[event["id"]], "leaf_hash": leaf, "duplicate": not is_new}
            )
        root = base64.b64encode(hashlib.sha256(f"{self.root}{self.size}".encode()).digest()).decode()
        note = f"scripted.example/log\n{self.size}\n{root}\n\n— scripted.example/log AAAA\n"
        return {
            "accepted": len(events), "first_index": items[0]["index"], "size": self.size, "checkpoint": note, "items": items,
        }  # fmt: skip


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    told = Scripted()
    told.hold.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.hold.wait(20)
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            events = [json.loads(line) for line in body.splitlines()]
            told.headers.append(dict(self.headers))
            status, headers = told.plan.pop(0) if told.plan else (200, {})
            if told.refuses and any(event["action"] == told.refuses for event in events):
                status = 400
            data = b"{}"
            if status == 200:
                told.batches.append(events)
                data = json.dumps(told.answer(events)).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    told.url = f"http://127.0.0.1:{server.server_port}"
    yield told
    told.hold.set()
    server.shutdown()
    server.server_close()
