"""How the server is doing: the status report, `/health`, `/metrics`, and the one sentence doors ask for."""

from __future__ import annotations

import os
import resource
import shutil
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from muniment import __version__
from muniment.access.policy import require
from muniment.api.gate import SessionGate
from muniment.api.operations import HEADERS, problem_response
from muniment.api.times import rfc3339
from muniment.app.upkeep import Verified
from muniment.errors import AuditError, DeniedError
from muniment.limits import DISK_RESERVE_BYTES

if TYPE_CHECKING:
    from muniment.app.server import Server

__all__ = ["Status"]


class Status:
    """Looks at every part; never changes one."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def trouble(self) -> str:
        """Why no record can be sealed now; empty when all is well. Cheap: doors ask on every health check."""
        status = self._server.pipeline.status()
        return status.trouble if status.is_stopped or status.trouble else ""

    def problems(self) -> list[str]:
        """Sentences an operator can act on."""
        s = self._server
        found = []
        if trouble := self.trouble():
            found.append(f"no event can be sealed: {trouble}")
        if problem := s.projector.last_problem:
            found.append(f"the search store is behind: {problem}")
        free = shutil.disk_usage(s.settings.data_path).free
        if free < 4 * DISK_RESERVE_BYTES:
            found.append(f"only {free // 2**20} MiB of disk are left")
        found += [f"{pull.state.place}: {pull.state.problem}" for pull in s.pulls if pull.state.problem]
        for pull in s.pulls:
            if pull.state.broken or pull.state.not_understood:
                found.append(
                    f"{pull.state.place}: {pull.state.broken} objects could not be read (they stand in quarantine), "
                    f"{pull.state.not_understood} messages were not understood (left to the queue)"
                )
        found += [f"GeoIP: {each.problem}; older data is in use" for each in s.geoip.about() if each.problem]
        found += [f"formats: {problem}; the entry is left out" for problem in s.formats.problems]
        if dead := s.notifier.outbox.counts().get("dead", 0):
            what = "1 notice" if dead == 1 else f"{dead:,} notices"
            found.append(f"{what} could not be delivered: muniment notices list --state dead, or the page Who is told")
        verified = s.upkeep.last_verified
        if verified and not verified.holds:
            found.append(f"the last verification, at {rfc3339(verified.at)}, failed: {verified.error}")
        return found

    def report(self) -> dict[str, Any]:
        """The status answer's content."""
        s = self._server
        horizon, pipeline = s.projector.horizon(), s.pipeline.status()
        problems = self.problems()
        doors = self._doors()
        return {
            "is_healthy": not problems,
            "problems": problems,
            "ledger": {
                "origin": s.ledger.origin,
                "size": s.ledger.size,
                "checkpoint_time": s.ledger.checkpoint_time,
                "disk_bytes": s.upkeep.ledger_bytes(),
                "last_verified": _verified(s.upkeep.last_verified),
            },
            "store": {
                "engine": s.settings.store_url.partition("://")[0],
                "complete_to_index": horizon.complete_to_index,
                "pending": horizon.pending,
                "places": self.places(),
            },
            "doors": doors,
            "response": self._response(),
            "process": {
                "version": __version__,
                "pid": os.getpid(),
                "uptime_s": (s.clock() - s.started_at) // 10**9,
                "resident_mib": _resident_bytes() // 2**20,
                "pending_events": pipeline.pending_events,
                "sealed_events": pipeline.events,
                "batches": pipeline.batches,
            },
        }

    def _response(self) -> dict[str, int]:
        """Rules, and what they tell: how many run, cannot be run or are paused; notices that wait or were not taken."""
        s = self._server
        current, notices = s.rules.current, s.notifier.outbox.counts()
        return {
            "rules_running": len(current.rules) + len(current.correlations),
            "rules_refused": len(current.refused),
            "rules_paused": len(s.rules.paused),
            "notices_waiting": notices.get("pending", 0) + notices.get("held", 0),
            "notices_dead": notices.get("dead", 0),
        }

    def places(self) -> str:
        """What says where addresses are, and whom to name for it."""
        files = self._server.geoip.about()
        if not files:
            return "no GeoIP data; the setting geoip names MaxMind-format files"
        return "; ".join(
            f"{each.kind} of {time.strftime('%Y-%m-%d', time.gmtime(each.built_at))}"
            + (f". {each.attribution}" if each.attribution else "")
            for each in files
        )

    def _doors(self) -> dict[str, tuple[str, bool, int]]:
        """Every open door: where it is, that it is open, and how many events it took since start."""
        s = self._server
        base, taken = s.settings.base_url, s.intake.by_door
        names = {"http": "http", "otlp-http": "otlp", "elastic": "elastic", "hec": "hec", "loki": "loki"}
        names |= {"journal": "journal", "cloudevents": "cloudevents"}
        found = {kind: (base, True, taken[door]) for kind, door in names.items()}
        if s.otlp_grpc_port >= 0:
            found["otlp-grpc"] = (f"{s.settings.host}:{s.otlp_grpc_port}", True, taken["otlp-grpc"])
        for pull in s.pulls:
            found[f"pull-{pull.state.source}"] = (pull.state.place, not pull.state.problem, pull.state.events)
        for transport, port in s.syslog.ports().items():
            found[f"syslog-{transport}"] = (f"{s.settings.host}:{port}", True, taken[f"syslog-{transport}"])
        return found

    async def health_endpoint(self, _: Request) -> Response:
        """200 while events can be sealed, 503 otherwise; says nothing more to strangers."""
        trouble = self.trouble()
        body = msgspec.json.encode({"status": "trouble" if trouble else "ok"})
        return Response(body, 503 if trouble else 200, HEADERS, "application/json")

    def metrics_endpoint(self, gate: SessionGate) -> Callable[[Request], Any]:
        """Prometheus text format, for readers."""

        async def metrics(request: Request) -> Response:
            try:
                identity = require(gate.identify(request), "search")
                if identity.scope:
                    raise DeniedError("metrics count all sources; this key sees some rows only", permission="search")
            except AuditError as error:
                return problem_response(error)
            return Response(self._metrics(), headers=HEADERS, media_type="text/plain; version=0.0.4; charset=utf-8")

        return metrics

    def _metrics(self) -> str:
        s = self._server
        pipeline, horizon = s.pipeline.status(), s.projector.horizon()
        response = self._response()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        rows = [
            ("muniment_ledger_size", "gauge", "Entries in the ledger", s.ledger.size),
            ("muniment_events_sealed_total", "counter", "Events sealed since start", pipeline.events),
            ("muniment_batches_total", "counter", "Batches since start", pipeline.batches),
            ("muniment_pending_events", "gauge", "Events not yet acknowledged", pipeline.pending_events),
            ("muniment_pending_bytes", "gauge", "Bytes not yet acknowledged", pipeline.pending_bytes),
            ("muniment_store_pending", "gauge", "Entries not yet searchable", horizon.pending),
            ("muniment_rules_running", "gauge", "Rules that run", response["rules_running"]),
            ("muniment_rules_refused", "gauge", "Rules that cannot be run", response["rules_refused"]),
            (
                "muniment_rules_paused",
                "gauge",
                "Rules that were too slow or failed, and are paused",
                response["rules_paused"],
            ),
            ("muniment_notices_waiting", "gauge", "Notices not yet delivered", response["notices_waiting"]),
            ("muniment_notices_dead", "gauge", "Notices that could not be delivered", response["notices_dead"]),
            ("muniment_healthy", "gauge", "1 while nothing is wrong", int(not self.problems())),
            ("process_resident_memory_bytes", "gauge", "Resident memory", _resident_bytes()),
            ("process_cpu_seconds_total", "counter", "CPU time", usage.ru_utime + usage.ru_stime),
        ]
        lines = [f"# HELP {n} {words}\n# TYPE {n} {kind}\n{n} {value}" for n, kind, words, value in rows]
        for info in s.registry.all():
            counters = s.registry.counters(info.id)
            lines.append(f'muniment_source_events_total{{source="{info.id}"}} {counters.received}')
            lines.append(f'muniment_source_quarantined_total{{source="{info.id}"}} {counters.quarantined}')
        return "\n".join(lines) + f"\n# made at {time.time():.0f}\n"


def _verified(last: Verified | None) -> dict[str, Any] | None:
    """When the whole ledger was last re-derived, and whether it held; None: never, as far as is known."""
    if last is None:
        return None
    return {"at": last.at, "holds": last.holds, "entries": last.entries, "error": last.error}


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
