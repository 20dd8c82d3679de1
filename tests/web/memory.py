"""A whole backend in memory for the pages: a small company, a real Merkle tree, a real signature, a simple matcher."""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import hashlib
import json
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from muniment.errors import DeniedError, RejectedError
from muniment.web import missing, routes
from muniment.web.backend import (
    Door,
    EventRecord,
    Horizon,
    Ledger,
    Page,
    Proof,
    SavedSearch,
    Series,
    Signature,
    SourceStatus,
    Status,
    Viewer,
    Wanted,
)
from muniment.web.query_text import chips
from muniment.web.rows import time_ns
from muniment.web.times import utc_text

NOW_NS = 1_795_419_600 * 10**9
S = 10**9
ORIGIN = "muniment.local/audit/main/2026h2"
PEOPLE = [("u-101", "Ann Keller", "ann.keller"), ("u-102", "Marta Ruiz", "m.ruiz"), ("u-103", "Jun Li", "j.li"), ("u-104", "Tom Baker", "tom.baker"),
          ("u-105", "Ines Duarte", "ines.d"), ("u-106", "Omar Haddad", "omar"), ("u-107", "Priya Nair", "priya.n"), ("u-108", "Søren Holm", "soren")]  # fmt: skip
WORK = [("okta", "user.login", "application", ["Okta", "Salesforce", "Jira"], "Okta"), ("github", "repository.push", "repository", ["acme/payments", "acme/web"], "GitHub"),
        ("aws-cloudtrail", "object.read", "bucket", ["customer-exports", "backups-eu"], "s3"), ("crm", "customer.update", "customer", ["Northwind GmbH", "Alpine Foods"], "crm"),
        ("files", "file.delete", "file", ["Q3 plan.xlsx", "Board minutes.docx"], "files"), ("billing", "refund.create", "payment", ["pay_81332", "pay_81410"], "billing"),
        ("bastion-sshd", "user.login", "host", ["bastion-1"], "bastion-1"), ("deployer", "configuration.update", "service", ["checkout-db", "search"], "deployer")]  # fmt: skip


def event(index: int, at: int, **more: Any) -> dict[str, Any]:
    """One row with every column a page may ask for."""
    base: dict[str, Any] = {
        "index": index, "id": f"0199{index:04x}-7a31-7c55-9d2e-{index:012x}", "time": at, "received_at": at + 184_000_000, "late": False,
        "format": "json", "outcome": "success", "class_name": "Entity Management", "class_uid": 3004, "severity": "Informational",
        "severity_id": 1, "src_country": "DE", "user_agent": "Mozilla/5.0", "actor_type": "User", "status_detail": "", "message": "",
        "quarantine": "", "drill": "", "on_behalf_of": "", "reason": "", "changes_before": "", "changes_after": "", "trace_id": "",
    }  # fmt: skip
    return {**base, **more}


def company(n: int = 900) -> list[dict[str, Any]]:
    """A day and a half of believable work with a brute force near its end."""
    rnd = random.Random(7)
    times = sorted(NOW_NS - int(rnd.triangular(0, 34, 5) * 3_600 * S) - rnd.randrange(S) for _ in range(n))
    rows = []
    for index, at in enumerate(times):
        uid, name, login = rnd.choice(PEOPLE)
        source, action, kind, targets, host = rnd.choice(WORK)
        target = rnd.choice(targets)
        row = event(index, at, source=source, action=action, actor_id=uid, actor_name=name, actor_email=f"{login}@acme.example", target_type=kind,
                    target_name=target, target_id=f"{kind[:3]}-{rnd.randrange(9999)}", dst_host=host, app=source, src_ip=f"10.20.{rnd.randrange(4)}.{rnd.randrange(2, 60)}",
                    session_id=f"s-{uid}-{at // (3600 * S) % 97}", request_id=f"req-{rnd.randrange(16**8):08x}", device_name=f"{login}-mbp",
                    activity_name=action.rpartition(".")[2].capitalize())  # fmt: skip
        if NOW_NS - 4 * 3600 * S < at < NOW_NS - 3.6 * 3600 * S or rnd.random() < 0.04:
            row |= {"outcome": "failure", "severity": "Medium", "status_detail": "invalid password", "action": "user.login", "source": "okta", "dst_host": "vpn",
                    "src_ip": "203.0.113.7", "src_country": "RO", "class_name": "Authentication", "class_uid": 3002}  # fmt: skip
        elif action == "configuration.update":
            row |= {"reason": "OPS-2291 pool too large", "on_behalf_of": "Jun Li",
                    "changes_before": json.dumps({"service": "checkout-db", "max_connections": 500, "pool": {"size": 40, "overflow": 10}, "owner": "platform", "debug": True}),
                    "changes_after": json.dumps({"service": "checkout-db", "max_connections": 50, "pool": {"size": 40, "overflow": 0}, "owner": "platform", "statement_timeout": "30s"})}  # fmt: skip
        elif rnd.random() < 0.03:
            row["outcome"] = "unknown"
        rows.append(row)
    return rows


def original(row: Mapping[str, Any]) -> str:
    """The source's own JSON, with sealed places."""
    return json.dumps(
        {
            "action": row["action"], "actor": {"id": row["actor_id"], "name": {"$sealed": 1}, "email": {"$sealed": 1}},
            "occurred_at": utc_text(row["time"]), "outcome": row["outcome"],
            "targets": [{"type": row["target_type"], "id": row["target_id"], "name": row["target_name"]}],
            "context": {"ip": row["src_ip"], "request": row["request_id"], "note": "opened by {$sealed:1} with [secret:api-key]"},
        },
        ensure_ascii=False,
    )  # fmt: skip


def _sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _root(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return _sha(b"\x01" + _root(hashes[:k]) + _root(hashes[k:]))


def _path(hashes: Sequence[bytes], m: int) -> list[bytes]:
    if len(hashes) == 1:
        return []
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return [*_path(hashes[:k], m), _root(hashes[k:])] if m < k else [*_path(hashes[k:], m - k), _root(hashes[:k])]


@dataclass
class MemoryBackend:
    """Everything the pages ask for."""

    rows: list[dict[str, Any]] = field(default_factory=company)
    permissions: frozenset[str] = frozenset({"search", "export", "verify", "sources", "admin"})
    pending: int = 0
    links: set[str] = field(default_factory=lambda: {"first-login-link-0001"})
    session: str = "session-of-the-tests"
    kept: list[SavedSearch] = field(default_factory=list)
    problems: tuple[str, ...] = ()
    tampered: bool = False

    def __post_init__(self) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
        self._leaves = [self._leaf(row) for row in self.rows]
        self._hashes = [_sha(b"\x00" + leaf) for leaf in self._leaves]
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._key_id = _sha(ORIGIN.encode() + b"\n\x01" + public)[:4]
        self.vkey = f"{ORIGIN}+{self._key_id.hex()}+{base64.b64encode(bytes([1]) + public).decode()}"

    def _leaf(self, row: Mapping[str, Any]) -> bytes:
        c = base64.b64encode(_sha(bytes(16) + original(row).encode())).decode() if "actor_id" in row else ""
        return json.dumps(
            {
                "c": [c],
                "i": row["index"],
                "id": row["id"],
                "rt": utc_text(row["received_at"]),
                "sq": None,
                "src": row["source"],
                "v": 1,
            },
            separators=(",", ":"),
        ).encode()

    def checkpoint(self) -> str:
        root = _root(self._hashes) if self._hashes else _sha(b"")
        text = f"{ORIGIN}\n{len(self._hashes)}\n{base64.b64encode(root).decode()}\n"
        return f"{text}\n— {ORIGIN} {base64.b64encode(self._key_id + self._key.sign(text.encode())).decode()}\n"

    def horizon(self) -> Horizon:
        n = len(self.rows)
        return Horizon(n - self.pending, NOW_NS - (900 * S if self.pending else 0), n, self.pending)

    def matching(self, wanted: Wanted) -> list[dict[str, Any]]:
        if wanted.q.count('"') % 2:
            raise RejectedError("this quote is never closed", field="q", column=wanted.q.rindex('"'))
        return [
            r
            for r in self.rows
            if (wanted.start is None or r["time"] >= wanted.start)
            and (wanted.end is None or r["time"] < wanted.end)
            and _matches(wanted.q, r)
        ]

    def now_ns(self) -> int:
        return NOW_NS

    def viewer(self, request: Request) -> Viewer | None:
        if request.cookies.get("muniment_session") != self.session:
            return None
        return Viewer("p-1", "Dana Weiss", "administrator", "csrf-of-the-tests", self.permissions)

    async def enter(self, link_token: str, request: Request) -> tuple[str, str, int]:
        if link_token not in self.links:
            raise DeniedError("this login link was used or has expired", is_authenticated=False)
        self.links.discard(link_token)
        return "muniment_session", self.session, 3600

    async def leave(self, request: Request) -> str:
        self.session = "ended"
        return "muniment_session"

    async def search(
        self, viewer: Viewer, wanted: Wanted, *, limit: int, cursor: str | None, order: str, columns: Sequence[str]
    ) -> Page:
        found = sorted(self.matching(wanted), key=lambda r: (r["time"], r["index"]), reverse=order == "desc")
        at = int(cursor or 0)
        more = str(at + limit) if len(found) > at + limit else None
        warnings = [
            f"there is no field '{c.field}'"
            for c in chips(wanted.q)
            if c.field and c.field not in _ALIAS and self.rows and c.field not in self.rows[0]
        ]
        return Page(found[at : at + limit], more, self.horizon(), 12.0, warnings)

    async def histogram(self, viewer: Viewer, wanted: Wanted, *, buckets: int, by: str) -> Series:
        start, end = wanted.start or 0, wanted.end or NOW_NS
        step = max(1, -(-(end - start) // buckets))
        series: dict[str, list[int]] = {}
        for r in self.matching(wanted):
            series.setdefault(r[by], [0] * buckets)[(r["time"] - start) // step] += 1
        return Series(start, end, step, series)

    async def facets(
        self, viewer: Viewer, wanted: Wanted, fields: Sequence[str], *, limit: int
    ) -> Mapping[str, Sequence[tuple[str, int]]]:
        found = self.matching(wanted)
        return {f: Counter(str(r.get(f, "")) for r in found).most_common(limit) for f in fields}

    async def after(self, viewer: Viewer, q: str, index: int, *, limit: int, columns: Sequence[str]) -> Page:
        found = [r for r in self.matching(Wanted(q)) if r["index"] > index]
        return Page(found[:limit], None, self.horizon(), 1.0)

    async def event(self, viewer: Viewer, index: int) -> EventRecord | None:
        if index >= len(self.rows):
            return None
        row = self.rows[index]
        ocsf = {"class_uid": row["class_uid"], "class_name": row["class_name"], "time": row["time"] // 10**6, "status": row["outcome"], "actor": {"user": {"uid": row.get("actor_id"), "name": row.get("actor_name")}}, "src_endpoint": {"ip": row.get("src_ip")}, "metadata": {"version": "1.8.0"}}  # fmt: skip
        return EventRecord(index, row, original(row), ocsf)

    async def proof(self, viewer: Viewer, index: int) -> Proof:
        record = original(self.rows[index]).encode() + (b" " if self.tampered else b"")
        return Proof(
            index,
            index,
            len(self.rows),
            ORIGIN,
            self._leaves[index],
            self._hashes[index],
            _path(self._hashes, index),
            _root(self._hashes),
            self.checkpoint(),
            record,
            bytes(16),
            (Signature(ORIGIN, "Ed25519", True),),
        )

    async def sources(self, viewer: Viewer) -> Sequence[SourceStatus]:
        counts, last = Counter(r["source"] for r in self.rows), {r["source"]: r["time"] for r in self.rows}
        own = SourceStatus("muniment", "Muniment itself", "muniment", "clear", "Platform", 60, 4120, 0, NOW_NS - 2 * S)
        found = [
            SourceStatus(
                n,
                n.replace("-", " ").title(),
                "auto",
                "sealed",
                "Security",
                7200 if n != "billing" else 60,
                k,
                3 if n == "crm" else 0,
                last[n],
            )
            for n, k in counts.items()
        ]
        return (
            [own, *found, SourceStatus("payroll", "Payroll", "json", "sealed", "People", 3600, 0, 0, None)]
            if self.rows
            else [own]
        )

    async def status(self, viewer: Viewer) -> Status:
        doors = (Door("http", "http://127.0.0.1:8480", True, "", 88213, 4), Door("otlp-http", "http://127.0.0.1:8480", True, "", 1290, 0), Door("syslog-tcp", "127.0.0.1:5601", True, "", 41992, 0), Door("syslog-udp", "127.0.0.1:5514", True, "", 1202, 0), Door("syslog-tls", "127.0.0.1:6514", False, "no certificate set"))  # fmt: skip
        return Status(
            self.problems,
            Ledger(ORIGIN, len(self.rows), self.checkpoint(), NOW_NS - 3 * S, (self.vkey,), len(self.rows) * 214),
            self.horizon(),
            "chdb, 26.9",
            doors,
            "0.1.0",
            NOW_NS - 9 * 86_400 * S,
            (("Memory", "412 MiB"),),
        )

    async def saved(self, viewer: Viewer) -> Sequence[SavedSearch]:
        return self.kept

    async def save(
        self, viewer: Viewer, *, name: str, q: str, start: str, end: str, columns: Sequence[str], is_shared: bool
    ) -> SavedSearch:
        self.kept.append(SavedSearch(f"s{len(self.kept)}", name, viewer.id, q, start, end, columns, is_shared))
        return self.kept[-1]

    async def delete_saved(self, viewer: Viewer, saved_id: str) -> None:
        self.kept = [s for s in self.kept if s.id != saved_id]


_ALIAS = {
    "actor": ("actor_id", "actor_name", "actor_email"),
    "ip": ("src_ip",),
    "target": ("target_id", "target_name", "target_type"),
}


def _matches(q: str, row: Mapping[str, Any]) -> bool:
    if q.startswith("(") and q.endswith(")"):
        q = q[1:-1]
    if " OR " in q:
        return any(_matches(part, row) for part in q.split(" OR "))
    for chip in chips(q):
        bound = re.fullmatch(r"received_at(>=|<)(.+)", chip.text)
        if bound:
            if (row["received_at"] >= time_ns(bound[2])) != (bound[1] == ">="):
                return False
            continue
        values = (
            [str(row.get(n, "")).lower() for n in _ALIAS.get(chip.field, (chip.field,))]
            if chip.field
            else [" ".join(map(str, row.values())).lower()]
        )
        want = chip.value.lower() if chip.field else f"*{chip.value.lower()}*"
        if any(fnmatch.fnmatchcase(v, want) and (v or want != "*") for v in values) == chip.is_negated:
            return False
    return True


def application(backend: MemoryBackend) -> Starlette:
    """The pages, and as much of the API as their scripts ask."""

    async def complete(request: Request) -> Response:
        text = request.query_params["text"].split()[-1:] or [""]
        at = len(request.query_params["text"]) - len(text[0])
        found = [
            {"text": f"{n}:", "kind": "field", "detail": "field", "start": at, "end": at + len(text[0])}
            for n in ("actor", "action", "app", "outcome")
            if n.startswith(text[0])
        ]
        return JSONResponse({"suggestions": found})

    async def search(request: Request) -> Response:
        columns = [n for n in request.query_params["columns"].split(",") if n != "record"]
        found = [backend.rows[int(n)] for n in re.findall(r"\d+", request.query_params["q"])]
        return JSONResponse(
            {"rows": [{n: row.get(n, "") for n in columns} | {"record": original(row)} for row in found]}
        )

    async def proof(request: Request) -> Response:
        p = await backend.proof(Viewer("", "", "", "", frozenset()), int(request.path_params["index"]))
        b64 = lambda data: base64.b64encode(data).decode()  # noqa: E731
        return JSONResponse({"index": p.index, "leaf_index": p.leaf_index, "size": p.size, "origin": p.origin, "leaf": b64(p.leaf), "leaf_hash": b64(p.leaf_hash), "inclusion_proof": [b64(h) for h in p.inclusion_proof], "root_hash": b64(p.root_hash), "checkpoint": p.checkpoint, "record": b64(p.record), "record_salt": b64(p.record_salt), "vkeys": [backend.vkey]})  # fmt: skip

    async def tail(request: Request) -> Response:
        after = int(request.query_params.get("after", "-1"))

        async def follow() -> AsyncIterator[bytes]:
            nonlocal after
            while not await request.is_disconnected():
                for r in backend.rows[after + 1 :]:
                    after = r["index"]
                    yield b"event: row\ndata: {}\n\n"
                await asyncio.sleep(0.05)

        return StreamingResponse(follow(), media_type="text/event-stream")

    api = [
        Route("/api/v1/complete", complete),
        Route("/api/v1/search", search),
        Route("/api/v1/events/{index}/proof", proof),
        Route("/api/v1/tail", tail),
    ]
    return Starlette(routes=[*api, *routes(backend)], exception_handlers={404: missing(backend)})


@contextmanager
def serving(backend: MemoryBackend) -> Iterator[str]:
    """The same over a socket, for a browser; its address."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    config = uvicorn.Config(application(backend), port=port, log_level="error", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 10
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(5)
