"""Sends the simulated company's events through the real doors: HTTP, syslog over TCP and UDP, OTLP.

A process of its own, a client like any other: it holds one key per source and resends until acknowledged. First it
sends the working day so far (its events are late and marked so), or what is missing of it since an earlier run, then it
goes on live, and starts an incident now and then. The seed makes the company; the clock makes the day. It ends with the
server that started it, however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from muniment.drills.activity import SECOND_NS, Action, Activity
from muniment.drills.company import Company, make_company
from muniment.drills.incidents import INCIDENTS
from muniment.drills.shapes import to_bytes

__all__ = ["SimulationPlan", "simulate"]

BATCH: Final = 500
BACKFILL_HOURS: Final = 24
INCIDENT_EVERY_S: Final = 240
HOUR_NS: Final = 3_600 * SECOND_NS
PARENT_EVERY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """Where to send and as whom: `keys` maps each source id to its key; `per_second`: events at full presence, yesterday as now;
    nothing from before `since_ns` is sent. `parent` is the process to end with, 0 for none."""

    url: str
    syslog_host: str
    syslog_tcp_port: int
    keys: Mapping[str, str]
    seed: int = 1
    per_second: float = 5.0
    since_ns: int = 0
    seconds: float | None = None
    parent: int = 0


def simulate(plan: SimulationPlan) -> None:
    """Run until interrupted, or for `plan.seconds`."""
    asyncio.run(_Simulation(plan).run())


class _Simulation:
    def __init__(self, plan: SimulationPlan) -> None:
        self._plan = plan
        self._company: Company = make_company(plan.seed)
        self._rng = random.Random(plan.seed)
        self._syslog: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        limits = httpx.Limits(max_connections=16)
        async with httpx.AsyncClient(base_url=self._plan.url, limits=limits, timeout=60, trust_env=False) as http:
            start = time.time_ns()
            work = asyncio.create_task(self._work(http, start))
            while not work.done() and not self._is_orphan():
                await asyncio.wait([work], timeout=PARENT_EVERY_S)
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work

    async def _work(self, http: httpx.AsyncClient, start: int) -> None:
        await self._backfill(http, start)
        await self._live(http, start)

    def _is_orphan(self) -> bool:
        """Was the server that started us killed? A killed process cannot end its children."""
        return self._plan.parent != 0 and os.getppid() != self._plan.parent

    async def _backfill(self, http: httpx.AsyncClient, now: int) -> None:
        """The last day, hour by hour, with every incident once at its own hour."""
        activity = Activity(self._company, seed=self._plan.seed, per_second=self._plan.per_second)
        start = max(now - BACKFILL_HOURS * HOUR_NS, self._plan.since_ns)
        planned: list[Action] = []
        for number, incident in enumerate(INCIDENTS):
            begin = start + (2 + 3 * number) * HOUR_NS + self._rng.randrange(HOUR_NS)
            planned += incident.make(self._company, self._rng, begin)
        for hour in range(start, now, HOUR_NS):
            end = min(hour + HOUR_NS, now)
            actions = [*activity.between(hour, end), *(a for a in planned if hour <= a.at_ns < end)]
            await self._send(http, sorted(actions, key=lambda a: a.at_ns))

    async def _live(self, http: httpx.AsyncClient, start: int) -> None:
        activity = Activity(self._company, seed=self._plan.seed, per_second=self._plan.per_second)
        deadline = None if self._plan.seconds is None else time.monotonic() + self._plan.seconds
        done = start
        planned: list[Action] = []
        next_incident = start + INCIDENT_EVERY_S * SECOND_NS // 4
        while deadline is None or time.monotonic() < deadline:
            await asyncio.sleep(1.0)
            now = time.time_ns()
            if now >= next_incident:
                incident = self._rng.choice(INCIDENTS)
                planned += incident.make(self._company, self._rng, now)
                next_incident = now + INCIDENT_EVERY_S * SECOND_NS
            due = [a for a in planned if a.at_ns < now]
            planned = [a for a in planned if a.at_ns >= now]
            await self._send(http, sorted([*activity.between(done, now), *due], key=lambda a: a.at_ns))
            done = now

    async def _send(self, http: httpx.AsyncClient, actions: Iterable[Action]) -> None:
        by_source: dict[str, list[bytes]] = defaultdict(list)
        lines: list[bytes] = []
        for action in actions:
            event = to_bytes(action, self._rng)
            if action.system.door == "syslog":
                lines.append(b"%d %s" % (len(event), event))
            else:
                by_source[action.system.id].append(event)
        sends = []
        for source, events in by_source.items():
            sends += [self._post(http, source, events[at : at + BATCH]) for at in range(0, len(events), BATCH)]
        await asyncio.gather(self._send_lines(lines), *sends)

    async def _post(self, http: httpx.AsyncClient, source: str, events: list[bytes]) -> None:
        """Send until acknowledged; the events carry ids, so a resend is not a second event."""
        headers = {"Authorization": f"Bearer {self._plan.keys[source]}"}
        if events[0].startswith(b'{"service"'):
            path, body = "/v1/logs", _export_request([json.loads(event) for event in events])
            headers["Content-Type"] = "application/json"
        else:
            path, body = "/v1/events", b"\n".join(events)
            headers["Content-Type"] = "application/x-ndjson"
        while True:
            try:
                response = await http.post(path, content=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(1)
                continue
            if response.status_code not in {429, 500, 502, 503, 504, 507}:
                response.raise_for_status()
                return
            await asyncio.sleep(min(30.0, float(response.headers.get("retry-after", "1"))))

    async def _send_lines(self, lines: list[bytes]) -> None:
        while lines:
            try:
                if self._syslog is None or self._syslog.is_closing():
                    _, self._syslog = await asyncio.open_connection(self._plan.syslog_host, self._plan.syslog_tcp_port)
                self._syslog.write(b"".join(lines))
                await self._syslog.drain()
                return
            except OSError:
                self._syslog = None
                await asyncio.sleep(1)


def _export_request(items: list[dict[str, Any]]) -> bytes:
    """An OTLP/JSON ExportLogsServiceRequest: one resource, one scope, all records."""
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": items[0]["service"]}}]}
    scope_logs = [{"scope": {"name": items[0]["service"]}, "logRecords": [item["record"] for item in items]}]
    return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": scope_logs}]}).encode()
