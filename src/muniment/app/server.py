"""Settings in, a running server out.

Order of opening, each step refusing what looks wrong: (1) folder and database, (2) sources and keys, (3) ledger (fails
closed), (4) protector, (5) store and projector, (6) pipeline, (7) detection, (8) doors, API and pages, (9) listeners. Closing runs
backwards, so that whatever was accepted is acknowledged before the ledger closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from muniment.access.database import open_database
from muniment.access.erasures import Erasures
from muniment.access.keys import KeyRing
from muniment.access.policy import MACHINE, Identity, require
from muniment.access.sessions import Doorkeeper
from muniment.access.webhooks import Webhooks
from muniment.api.gate import SessionGate
from muniment.api.jobs import Jobs
from muniment.api.operations import HEADERS, no_such_path, problem_response, routes
from muniment.api.recorder import ABOUT_OTHERS, OWN_SOURCE, Recorder
from muniment.api.services import Services
from muniment.app.case_pages import CasePagesBackend
from muniment.app.format_pages import FormatPagesBackend
from muniment.app.intake import SYSLOG_SOURCE, Intake, KeyAuthenticator, syslog_listeners
from muniment.app.notice_pages import NoticePagesBackend
from muniment.app.notifying import Notifier
from muniment.app.operations import every_operation, openapi_endpoint
from muniment.app.order_pages import OrderPagesBackend
from muniment.app.page_records import recorded_pages
from muniment.app.pages import PagesBackend
from muniment.app.people_pages import PeoplePagesBackend
from muniment.app.security_pages import SecurityPagesBackend
from muniment.app.status import Status
from muniment.app.upkeep import Upkeep
from muniment.app.webhook_pages import WebhookPagesBackend
from muniment.cases.cases import Cases
from muniment.cases.erasing import words_naming
from muniment.config import Settings
from muniment.detect.alerts import SOURCE as ALERTS_SOURCE
from muniment.detect.alerts import AlertBook
from muniment.detect.behaviour import Surroundings
from muniment.detect.detector import Detector
from muniment.detect.feeding import Feeding
from muniment.detect.logsources import Kind, Taxonomy, kind_of_entry, taxonomy_of
from muniment.detect.rulebook import RuleBook
from muniment.errors import AuditError, DeniedError, RejectedError, StorageError
from muniment.event.model import INTERNAL, Arrival
from muniment.ingest.admission import Admission, Quota, TrustedProxies
from muniment.ingest.http_doors import routes as door_routes
from muniment.ingest.http_request import DoorContext
from muniment.ingest.otlp_grpc import OtlpGrpcDoor
from muniment.ingest.pipeline import Pipeline
from muniment.ingest.pull.done import Done
from muniment.ingest.pull.s3 import S3Pull
from muniment.ingest.pull.settings import read_pull_settings
from muniment.ingest.syslog import SyslogServer
from muniment.ledger.ledger import Ledger
from muniment.privacy.keys import KeyStore
from muniment.privacy.plan import SealPlan
from muniment.privacy.protector import Protector
from muniment.respond.blocks import Blocks
from muniment.respond.orders import Orders
from muniment.respond.preview import Tickets
from muniment.respond.settings import NotifySettings, read_notify_settings
from muniment.search.engine import Engine, open_engine, set_aside
from muniment.search.formats import Formats
from muniment.search.mappings import mapping_set
from muniment.search.persons import person_of
from muniment.search.projector import Projector
from muniment.search.saved import SavedSearches
from muniment.search.service import SearchService
from muniment.sources.catalogue import AUTO, Catalogue, load
from muniment.sources.geoip import GeoIP
from muniment.sources.ocsf import to_ocsf
from muniment.sources.registry import SourceRegistry
from muniment.web import missing as missing_page
from muniment.web import routes as page_routes

__all__ = ["Server"]

_log = logging.getLogger("muniment")
_READERS: Final = 8
"""Threads for blocking reads; a search holds one, and two cores gain nothing from more."""

_ALERT_WRITE_S: Final = 30.0
"""An alert that is not in the ledger by then is made again with the next step of detection."""

_RESUMED_NS: Final = 86_400 * 10**9
"""An order older than a day is not sent by a start: somebody has asked again, or it is no longer wanted."""

_ALL_METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]

SYSTEM: Final = Identity("muniment", "Muniment", "administrator", via="system")


class Server:
    """Everything that runs, in one process. `open`, `serve`, `close`."""

    def __init__(self, settings: Settings, clock: Callable[[], int] = time.time_ns) -> None:
        self.settings = settings
        self.clock = clock
        self.started_at = clock()
        self.otlp_grpc_port = -1
        self._closing: contextlib.ExitStack = contextlib.ExitStack()
        self._changed = threading.Condition()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.start_problem: AuditError | None = None
        self.store_problem = ""
        self._change_waiters: set[asyncio.Event] = set()

    def open(self) -> None:
        """Steps (1) to (7). Raises ConfigError, StorageError or VerificationError; what was opened is closed again."""
        try:
            self._open()
        except BaseException:
            self._closing.close()
            raise

    def _open(self) -> None:
        s = self.settings
        s.data_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        # (1), (2)
        self.database = open_database(s.database_url)
        self._closing.callback(self.database.dispose)
        shipped = load()
        self.registry = SourceRegistry(self.database, shipped, {OWN_SOURCE: SealPlan.compile(ABOUT_OTHERS)})
        self.keys = KeyRing(self.database)
        self.erasures = Erasures(self.database)
        self.webhooks = Webhooks(self.database, self.started_at)
        self.doorkeeper = Doorkeeper(self.database, s.session_hours * 3_600 * 10**9)
        for source, title, fmt in (
            (OWN_SOURCE, "Muniment itself", "muniment"),
            (ALERTS_SOURCE, "Alerts", "alert"),
            (SYSLOG_SOURCE, "Syslog senders without a name", AUTO),
        ):
            if self.registry.get(source) is None:
                policy = "clear" if source == OWN_SOURCE else s.privacy_default
                self.registry.add(
                    source, title=title, format=fmt, privacy=policy, owner="operations", now_ns=self.clock()
                )
        # (3)
        self.ledger = Ledger.open(
            s.data_path / "ledger", origin=s.origin, head=s.head_url, static_bundles=s.static_bundles
        )
        self._closing.callback(self.ledger.close)
        # (4)
        self.subject_keys = KeyStore.open(s.data_path / "keys")
        self._closing.callback(self.subject_keys.close)
        self.protector = Protector(self.registry, self.subject_keys, s.origin, has_worker=s.seal_worker)
        self._closing.callback(self.protector.close)
        # (5)
        self.engine = self._open_store()
        self._closing.callback(self.engine.close)
        self.pulls: list[S3Pull] = []
        self.geoip = GeoIP.open(self.settings.geoip)
        locate = self.geoip.locate if self.geoip else None
        self.projector = Projector(
            self.engine, self.ledger, self.protector, mapping_set(shipped), self.registry.format_of, locate
        )
        self.formats_of_rules: dict[str, tuple[Kind, Taxonomy]] = {}
        self.formats = Formats(
            self.engine, self.projector, self.registry, shipped, s.data_path / "formats", self._formats_changed
        )
        self.formats.restart()
        self.projector.subscribe(self._tell_changed)
        self.projector.start()
        self._closing.callback(self.projector.close)
        self.search = SearchService(self.engine, self.projector, to_ocsf=to_ocsf, now_ns=self.clock)
        self.saved = SavedSearches(self.database)
        # (6)
        self.pipeline = Pipeline(self.protector, self.ledger, self.projector, is_behind=self._is_behind)
        self.pipeline.start()
        self._closing.callback(self.pipeline.close)
        self.upkeep = Upkeep(self)
        self._open_detection()
        self.intake = Intake(self.pipeline, self.registry)
        self.recorder = Recorder(self.intake, self.clock)
        self.readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        self._closing.callback(self.readers.shutdown, wait=False, cancel_futures=True)
        self.jobs = Jobs(self.clock)
        self.status = Status(self)
        try:
            self.upkeep.remember()
        except AuditError as error:  # counters are for people; the store being away must not keep the doors shut
            _log.warning("counters of earlier runs are not known: %s", error)

    def _open_detection(self) -> None:
        """Step (7): rules over what the store holds; alerts go the way of every record."""
        folders = [Path(part.strip()) for part in self.settings.rules.split(",") if part.strip()]
        self.rules = RuleBook(folders, self.database, self.clock)
        self.alerts = AlertBook(self._write_alerts, self.clock)
        told = NotifySettings()
        if self.settings.notify:
            told = read_notify_settings(Path(self.settings.notify))
        self.notifier = Notifier(
            self.database, told, self.settings.base_url, self.clock, self._told_by_detection, self.alerts.all
        )
        self.detector = Detector(
            self.engine, self.projector, self.rules, self.alerts, self.formats_of_rules, self.clock, self._told_by_detection,
            self.notifier.alerts_began,
            Surroundings(
                self.geoip.locate,
                tuple(each.strip() for each in self.settings.own_domains.split(",") if each.strip()),
            ),
            has_worker=self.settings.detect_worker,
        )  # fmt: skip
        self.blocks = Blocks(self.database)
        self.orders = Orders(self.database)
        self.cases = Cases(self.database)
        self._resume_orders()
        self.notifier.start()
        self._closing.callback(self.notifier.close)
        self.tickets = Tickets(secrets.token_bytes(32))
        self.projector.subscribe(self.detector.wake)
        self.detector.start()
        self._closing.callback(self.detector.close)

    def _resume_orders(self) -> None:
        """Orders that were kept and perhaps not put into the outbox before a crash; what is in it already stays as it is."""
        since = self.clock() - _RESUMED_NS
        for each in self.orders.of([]):
            if each.state == "sent" and each.asked_at > since:
                try:
                    self.notifier.order(each.order())
                except AuditError as error:  # a full outbox must not keep the doors shut
                    self.upkeep.notice("order.fail", {"order": each.id, "reason": str(error)})

    def _forget_person(self, identifier: str, source: str) -> dict[str, int]:
        """An erased person leaves the tables beside the ledger, by every name the store knows; called before it forgets them."""
        person, now = person_of(self.engine, identifier, source), self.clock()
        ended = self.blocks.forget_person(person, now)
        for block in ended:
            self.orders.release(block.id, False)
        written = self.cases.forget_person(person)
        counts = {
            "blocks": len(ended), "orders": self.orders.forget_person(person),
            "notices": self.notifier.outbox.forget_person(person, now),
            "silences": self.notifier.silences.forget_person(person), "exceptions": self.rules.forget_person(person),
            "cases": len(written),
        }  # fmt: skip
        for words in {*written, *words_naming(self.engine, person)}:  # each a value of its own in the records of cases
            self.protector.erase_subject(words, OWN_SOURCE)
        for name in person.names:
            if "@" not in name:  # an address is one person everywhere, and only who asks for it erases it
                self.protector.erase_subject(name, OWN_SOURCE)
        return counts

    def _formats_changed(self, catalogue: Catalogue) -> None:
        """Other entries are in force: those with fields for rules are known to the rules from their next look on."""
        self.formats_of_rules.update(
            (name, (kind_of_entry(entry.sigma), taxonomy_of(entry.sigma)))
            for name, entry in catalogue.items()
            if entry.sigma
        )

    def _write_alerts(self, records: Sequence[bytes], ids: Sequence[str]) -> None:
        """Alerts into the ledger; they are there when this returns."""
        arrival = Arrival(ALERTS_SOURCE, INTERNAL, self.clock(), records, ids)
        self.pipeline.submit_nowait_threadsafe(arrival).result(_ALERT_WRITE_S)
        self.registry.heard(arrival)

    def _told_by_detection(self, action: str, found: dict[str, object]) -> None:
        self.upkeep.notice(action, found)

    def _open_store(self) -> Engine:
        """The search store; one that does not open is set aside, and a new one fills up from the ledger."""
        try:
            return open_engine(self.settings.store_url)
        except StorageError as error:
            now = datetime.fromtimestamp(self.clock() / 1e9, UTC)
            aside = set_aside(self.settings.store_url, f"{now:%Y%m%dT%H%M%S}")
            if not aside:
                raise
            _log.error("the search store does not open and is now %s; a new one fills up from the ledger", aside)
            self.store_problem = f"it did not open and was set aside as {aside}: {error}"
            return open_engine(self.settings.store_url)

    def close(self) -> None:
        """Drain and close, in the reverse order of opening."""
        self._closing.close()

    # --- HTTP -----------------------------------------------------------------------------------------------------

    def application(self) -> Starlette:
        """Step (8): doors first, then API, tiles and pages, as one ASGI application."""
        proxies = TrustedProxies([part.strip() for part in self.settings.trusted_proxies.split(",") if part.strip()])
        self.admission = Admission(
            KeyAuthenticator(self.keys),
            quota_of=lambda _: Quota(events_per_s=float(self.settings.source_events_per_s)),
            proxies=proxies,
        )
        self.door_context = DoorContext(
            self.intake,
            self.admission,
            self.clock,
            lambda: self.pipeline.held_bytes,
            trouble=self.status.trouble,
            webhook_of=self.webhooks.get,
            webhook_told=self.webhooks.told,
        )

        def client_ip(request: Request) -> str:
            headers = {name.lower(): value for name, value in request.headers.items()}
            return proxies.client(request.client.host if request.client else "", headers)

        gate = SessionGate(self.doorkeeper, self.keys, self.clock, client_ip)
        services = self._services()
        operations = every_operation(services)
        pages = PagesBackend(services, gate, self.started_at)
        people_pages = PeoplePagesBackend(pages)
        all_routes: list[BaseRoute] = [
            *door_routes(self.door_context),
            *routes(operations, gate, self._denied),
            Route("/api/v1/openapi.json", openapi_endpoint(operations), methods=["GET"]),
            Route("/api", no_such_path, methods=_ALL_METHODS),
            Route("/api/{path:path}", no_such_path, methods=_ALL_METHODS),
            Route("/health", self.status.health_endpoint, methods=["GET"]),
            Route("/metrics", self.status.metrics_endpoint(gate), methods=["GET"]),
            Route("/tlog/{shard}/{path:path}", self._tile_endpoint(gate), methods=["GET"]),
            *recorded_pages(
                page_routes(
                    pages,
                    SecurityPagesBackend(pages),
                    FormatPagesBackend(pages),
                    NoticePagesBackend(pages),
                    OrderPagesBackend(pages),
                    people_pages,
                    people_pages,
                    WebhookPagesBackend(pages),
                    CasePagesBackend(pages),
                ),
                self.recorder,
            ),
        ]
        handlers: dict[Any, Any] = {AuditError: _on_audit_error, 404: missing_page(pages)}
        return Starlette(routes=all_routes, lifespan=self._lifespan, exception_handlers=handlers)

    def _services(self) -> Services:
        return Services(
            settings=self.settings, ledger=self.ledger, search=self.search, saved=self.saved, sources=self.registry,
            keys=self.keys, doorkeeper=self.doorkeeper, recorder=self.recorder, jobs=self.jobs, readers=self.readers,
            clock=self.clock, status=self.status.report, verify=self.upkeep.verify_job, rebuild=self.upkeep.rebuild_job,
            forget_credentials=self.admission.forget, open_part=self.protector.open_part, horizon=self.projector.horizon, signatures=self.ledger.signatures,
            wait_for_change=self._wait_for_change, note_verify=self.upkeep.note_verify, keys_changed=self._keys_changed,
            erasures=self.erasures, subjects_of=self.subject_keys.find, erase_subject=self.protector.erase_subject, rules=self.rules, alerts=self.alerts, detector=self.detector,
            feeding=Feeding(self.engine, self.formats_of_rules),
            blocks=self.blocks, tickets=self.tickets, engine=self.engine, webhooks=self.webhooks, outbox=self.notifier.outbox, silences=self.notifier.silences,
            channels=self.notifier.channels, notice_routes=tuple(self.notifier.routes), formats=self.formats,
            actions=self.notifier.actions, orders=self.orders, cases=self.cases, send_order=self.notifier.order,
            tell_of_block=self.notifier.tell_of_block, forget_person=self._forget_person,
        )  # fmt: skip

    def _is_behind(self) -> bool:
        """Do the store or the rules have more to do than is good for who waits to find something?"""
        detector: Detector | None = getattr(self, "detector", None)  # made after the doors are open
        return self.projector.is_behind or (detector is not None and detector.is_behind)

    def _denied(self, operation: str, error: DeniedError) -> None:
        """A refusal by the API is counted for who was refused, and the counts become records."""
        what = error.permission if error.is_authenticated else "credential"
        self.admission.reject(error.who, "api", f"{operation}:{what}")

    def _keys_changed(self) -> None:
        """A key was revoked: doors forget that they knew it, and open tails look whether they may go on."""
        self.admission.forget()
        self._wake_waiters()

    def _tile_endpoint(self, gate: SessionGate) -> Callable[[Request], Any]:
        """The C2SP layout over HTTP. Tiles and bundles hold no content; still, only known readers fetch them, and
        bundles, which name sources and ids, only those who see all rows."""

        async def tile(request: Request) -> Response:
            try:
                identity = require(gate.identify(request), "search")
                if identity.scope and request.path_params["path"].startswith("tile/entries/"):
                    raise DeniedError(
                        "entries of all sources are in it; this key sees some rows only", permission="search"
                    )
                found = await asyncio.get_running_loop().run_in_executor(
                    self.readers, self.ledger.tile_file, request.path_params["path"], request.path_params["shard"]
                )
            except AuditError as error:
                if isinstance(error, DeniedError):
                    self._denied("tile", error)
                return problem_response(error)
            if found is None:
                return problem_response(RejectedError("there is no such tile", field="path", status=404))
            is_checkpoint = request.path_params["path"] == "checkpoint"
            media_type = "text/plain; charset=utf-8" if is_checkpoint else "application/octet-stream"
            age = "no-cache" if is_checkpoint else "private, max-age=31536000, immutable"
            return Response(found, media_type=media_type, headers=HEADERS | {"Cache-Control": age})

        return tile

    # --- listeners ------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self.loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as stack:
            try:
                await self._listen(stack)
            except AuditError as error:  # told by `run` in one line, not by the web server with its whole stack
                self.start_problem = error
                logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
                raise
            upkeep = asyncio.create_task(self.upkeep.run())
            stack.callback(upkeep.cancel)
            await self.recorder.record("server.start", SYSTEM, targets=[{"type": "ledger", "id": self.ledger.origin}])
            yield
            await self.upkeep.write_rest()
            await self.recorder.record("server.stop", SYSTEM, targets=[{"type": "ledger", "id": self.ledger.origin}])

    async def _listen(self, stack: contextlib.AsyncExitStack) -> None:
        """Open the doors that are not HTTP."""
        self.syslog = SyslogServer(
            syslog_listeners(self.settings, self.registry, self.clock),
            self.intake.submit,
            clock_ns=self.clock,
            on_loss=self.upkeep.syslog_loss,
            on_refused=self.upkeep.syslog_refused,
        )
        await self.syslog.start()
        stack.push_async_callback(self.syslog.stop)
        self._open_pulls(stack)
        if self.settings.otlp_grpc_port >= 0:
            otlp_grpc = OtlpGrpcDoor(self.door_context)
            self.otlp_grpc_port = await otlp_grpc.start(self.settings.host, self.settings.otlp_grpc_port)
            stack.push_async_callback(otlp_grpc.stop)

    def _open_pulls(self, stack: contextlib.AsyncExitStack) -> None:
        """Fetch from buckets; each in a thread, whose events go the way of every event."""
        wanted = read_pull_settings(Path(self.settings.pull)) if self.settings.pull else ()
        loop, done = asyncio.get_running_loop(), Done(self.database)

        def submit(arrival: Arrival) -> object:
            return asyncio.run_coroutine_threadsafe(self.intake.submit(arrival), loop).result()

        for each in wanted:
            if self.registry.get(each.source) is None:
                self.registry.add(each.source, now_ns=self.clock(), format=each.catalogue_entry)
            pull = S3Pull(each, done, submit, self.clock)
            pull.start()
            self.pulls.append(pull)
        if wanted:
            stack.push_async_callback(asyncio.to_thread, self._close_pulls)

    def _close_pulls(self) -> None:
        for pull in self.pulls:
            pull.close()

    # --- changes --------------------------------------------------------------------------------------------------

    def _tell_changed(self, start: int, end: int) -> None:
        loop = self.loop
        if loop is not None and self._change_waiters:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._wake_waiters)

    def _wake_waiters(self) -> None:
        for waiter in self._change_waiters:
            waiter.set()

    async def _wait_for_change(self, timeout_s: float) -> None:
        """Return when the store has grown, or after `timeout_s`."""
        waiter = asyncio.Event()
        self._change_waiters.add(waiter)
        try:
            await asyncio.wait_for(waiter.wait(), timeout_s)
        except TimeoutError:
            return
        finally:
            self._change_waiters.discard(waiter)

    # --- running --------------------------------------------------------------------------------------------------

    def write_cli_file(self) -> None:
        """`cli.json` in the data folder (0600): where this server is, with an administrator's key made for this run;
        and `pid`, which process it is."""
        name = "command line on this machine"
        self.keys.revoke_those_of(MACHINE, self.clock())  # of a run that was killed
        key, text = self.keys.create(name, "administrator", self.clock(), owner=MACHINE)
        self._closing.callback(lambda: self.keys.revoke(key.id, self.clock()))
        path = self.settings.data_path / "cli.json"
        temporary = path.with_name(f".cli-{secrets.token_hex(4)}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump({"url": self.settings.base_url, "key": text}, file)
        temporary.replace(path)
        self._closing.callback(path.unlink, missing_ok=True)
        process = self.settings.data_path / "pid"
        process.write_text(f"{os.getpid()}\n", "ascii")
        self._closing.callback(process.unlink, missing_ok=True)

    def login_url(self, person: str = "admin", name: str = "Administrator", role: str = "administrator") -> str:
        """A one-time login link."""
        return f"{self.settings.base_url}/login/{self.doorkeeper.new_link(person, name, role, self.clock())}"


async def _on_audit_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, AuditError)
    return problem_response(error)
