"""Files pulled from an S3-compatible bucket: told by a queue, or found by listing. A thread a bucket.

Never twice: every event has an id (CloudTrail's `eventID`, else its place in the object), and the ledger keeps an id of a
source once; so an object may be read again after a kill, and nothing of it is. Never lost: a message is deleted, and an
object noted as taken, only after all its events are acknowledged. An object that cannot be read is a record in
quarantine that names it; a message that cannot be understood is left for the queue's own dead letters.

Listing: days are folders (`.../2026/11/24/`), and CloudTrail delivers late and in no order, so each round lists every account's
and region's days from `late_days` before the newest one taken, and takes what is not noted.
"""

from __future__ import annotations

import contextlib
import logging
import random
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Final

from muniment.errors import BusyError, ConfigError, RejectedError
from muniment.event.model import Arrival
from muniment.ingest.pull.done import Done
from muniment.ingest.pull.objects import DOOR, Told, day_of, is_wanted, records_of, told_by
from muniment.ingest.pull.settings import S3Settings
from muniment.limits import PULL_BATCH_EVENTS, PULL_OBJECT_BYTES_MAX, PULL_RETRY_MAX_S, PULL_VISIBLE_AFTER_S
from muniment.wire.records import Records

__all__ = ["Pulled", "S3Pull"]

_log = logging.getLogger(__name__)
_WAIT_S: Final = 10
_YEAR: Final = re.compile(r"^\d{4}$")


@dataclass(frozen=True, slots=True)
class Pulled:
    """How a pull is doing, since the start. `at`: when the latest object was taken (UTC ns)."""

    source: str
    place: str
    objects: int = 0
    events: int = 0
    skipped: int = 0
    broken: int = 0
    not_understood: int = 0
    latest: str = ""
    at: int = 0
    problem: str = ""


class S3Pull:
    """One bucket. `start` it, `close` it."""

    def __init__(
        self, settings: S3Settings, done: Done, submit: Callable[[Arrival], object], now_ns: Callable[[], int]
    ) -> None:
        """`submit` returns when the events are in the ledger."""
        self.settings = settings
        self.state = Pulled(settings.source, f"s3://{settings.bucket}/{settings.prefix}")
        self._done = done
        self._submit = submit
        self._now_ns = now_ns
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._clients: tuple[Any, Any] | None = None

    def start(self) -> None:
        """Begin in a thread of its own. Raises ConfigError when the library for it is not installed."""
        _boto3()
        self._thread = threading.Thread(target=self._run, name=f"pull-{self.settings.source}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the batch in hand."""
        self._stop.set()
        if self._thread:
            self._thread.join(_WAIT_S + 5)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                self.round()
                failures = 0
                self.state = replace(self.state, problem="")
                wait_s = 0.0 if self.settings.queue else float(self.settings.every_s)
            except Exception as error:  # the network, a permission, the ledger: said, and tried again
                failures += 1
                if self.state.problem != str(error):
                    _log.warning("%s: %s", self.state.place, error)
                self.state = replace(self.state, problem=str(error)[:500])
                wait_s = min(PULL_RETRY_MAX_S, 2.0**failures) * random.uniform(0.5, 1.0)
            if wait_s:
                self._stop.wait(wait_s)

    def round(self) -> None:
        """Take what the queue tells now, or what one listing finds."""
        if self.settings.queue:
            self._take_messages()
        else:
            self._take_listed()

    # --- told by a queue ------------------------------------------------------------------------------------------

    def _take_messages(self) -> None:
        _, sqs = self._connected()
        queue = self.settings.queue
        found = sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=_WAIT_S, VisibilityTimeout=PULL_VISIBLE_AFTER_S
        )
        for message in found.get("Messages", ()):
            if self._stop.is_set():
                return
            try:
                told = told_by(message["Body"])
            except RejectedError as error:
                self.state = replace(self.state, not_understood=self.state.not_understood + 1)
                _log.warning("%s: message %s: %s", queue, message.get("MessageId"), error)
                continue
            if any(each.bucket != self.settings.bucket for each in told):
                self.state = replace(self.state, not_understood=self.state.not_understood + 1)
                continue
            for each in told:
                self._hold(message)
                self._take(each, "", partial(self._hold, message))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

    def _hold(self, message: Any) -> None:
        """Nobody else shall get the message while its objects are read."""
        _, sqs = self._connected()
        sqs.change_message_visibility(
            QueueUrl=self.settings.queue,
            ReceiptHandle=message["ReceiptHandle"],
            VisibilityTimeout=PULL_VISIBLE_AFTER_S,
        )

    # --- found by listing -----------------------------------------------------------------------------------------

    def _take_listed(self) -> None:
        newest = self._done.newest_day(self._place)
        since = self.settings.since
        if newest:
            today = datetime.fromtimestamp(self._now_ns() / 1e9, UTC).date()  # a key may say any day
            latest = min(date.fromisoformat(newest), today)
            since = max(since, (latest - timedelta(days=self.settings.late_days)).isoformat())
            self._done.forget_before(self._place, since)
        for page in self._pages(self.settings.prefix, since):
            taken = self._done.has(self._place, page)
            for key, etag in page:
                if self._stop.is_set():
                    return
                if (key, etag) not in taken:
                    self._take(Told(self.settings.bucket, key), etag)

    @property
    def _place(self) -> str:
        return f"{self.settings.source} {self.settings.bucket}/{self.settings.prefix}"

    def _pages(self, prefix: str, since: str) -> Iterator[list[tuple[str, str]]]:
        """Pages of (key, etag) below a prefix, without the days before `since`."""
        s3, _ = self._connected()
        folders: list[str] = []
        for page in s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.settings.bucket, Prefix=prefix, Delimiter="/"
        ):
            folders += [each["Prefix"] for each in page.get("CommonPrefixes", ())]
            objects = [(each["Key"], each["ETag"].strip('"')) for each in page.get("Contents", ())]
            if objects:
                yield objects
        for folder in folders:
            if is_wanted(folder + "x") and not _is_before(folder, since):
                yield from self._pages(folder, since)

    # --- one object -----------------------------------------------------------------------------------------------

    def _take(self, told: Told, etag: str, hold: Callable[[], None] = lambda: None) -> None:
        """All events of an object into the ledger; it is noted afterwards."""
        if not is_wanted(told.key):
            self.state = replace(self.state, skipped=self.state.skipped + 1)
            return
        s3, _ = self._connected()
        name = f"{told.bucket}/{told.key}"
        try:
            answer = s3.get_object(Bucket=told.bucket, Key=told.key)
        except s3.exceptions.NoSuchKey:  # expired, or deleted, since we were told
            self.state = replace(self.state, skipped=self.state.skipped + 1)
            return
        etag = etag or str(answer.get("ETag", "")).strip('"')
        with contextlib.closing(answer["Body"]) as body:
            data = body.read(PULL_OBJECT_BYTES_MAX + 1)
        is_broken = False
        try:
            if len(data) > PULL_OBJECT_BYTES_MAX:
                raise RejectedError(f"more than {PULL_OBJECT_BYTES_MAX} bytes")
            found = records_of(data, self.settings.format, f"{name}@{etag}"[-200:])
        except RejectedError as error:
            is_broken = True
            found = Records()
            found.quarantine(
                f"s3://{name}".encode(), f"object: {error.reason}"[:300], door=DOOR, event_id=f"{name}@{etag}"[-200:]
            )
        del data
        for start in range(0, len(found.records), PULL_BATCH_EVENTS):
            if start:
                hold()
            self._send(found, start, start + PULL_BATCH_EVENTS)
        day = day_of(told.key)
        if not self.settings.queue:
            self._done.add(self._place, told.key, etag, day.isoformat() if day else "")
        state = self.state
        self.state = replace(
            state, objects=state.objects + 1, events=state.events + len(found.records), latest=told.key, at=self._now_ns(),
            broken=state.broken + is_broken,
        )  # fmt: skip

    def _send(self, found: Records, start: int, end: int) -> None:
        quarantined = found.quarantined[start:end]
        arrival = Arrival(
            source=self.settings.source, door=DOOR, received_at=self._now_ns(), records=found.records[start:end],
            ids=found.ids[start:end], quarantined=quarantined if any(quarantined) else None, peer=self.settings.bucket,
        )  # fmt: skip
        while True:
            try:
                self._submit(arrival)
                return
            except BusyError as error:
                if self._stop.wait(error.retry_after_ms / 1_000):
                    raise

    def _connected(self) -> tuple[Any, Any]:
        if self._clients is None:
            self._clients = _clients(self.settings)
        return self._clients


def _is_before(folder: str, since: str) -> bool:
    """Is a folder of a year, month or day wholly before a day?"""
    parts = folder.rstrip("/").split("/")
    years = [at for at, part in enumerate(parts) if _YEAR.match(part)]
    if not since or not years:
        return False
    dated = "-".join(parts[years[-1] : years[-1] + 3])
    return bool(re.fullmatch(r"\d{4}(-\d{2}){0,2}", dated)) and dated < since[: len(dated)]


def _boto3() -> Any:
    try:
        import boto3
    except ImportError as error:
        raise ConfigError("pulling from S3 needs boto3: install muniment[server,aws]", setting="pull") from error
    return boto3


def _clients(settings: S3Settings) -> tuple[Any, Any]:
    """Clients of S3 and SQS, with the role's credentials where one is named."""
    boto3 = _boto3()
    from botocore.config import Config
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials
    from botocore.session import Session

    session = Session(profile=settings.profile or None)
    if settings.role_arn:
        more = {"ExternalId": settings.external_id} if settings.external_id else {}
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=session.create_client, source_credentials=session.get_credentials(), role_arn=settings.role_arn,
            extra_args={"RoleSessionName": "muniment", **more},
        )  # fmt: skip
        session = Session(profile=settings.profile or None)
        session._credentials = DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")
    made = boto3.Session(botocore_session=session, region_name=settings.region or None)
    config = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=10, read_timeout=60)
    given = {"config": config, "endpoint_url": settings.endpoint or None}
    s3 = made.client("s3", **given)
    sqs = made.client("sqs", **given) if settings.queue else None
    return s3, sqs
