"""CloudTrail files come from a real S3 protocol server, by queue and by listing; killed at any moment, nothing comes twice."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import sqlalchemy as sa
from moto.server import ThreadedMotoServer
from tests.live import LiveServer, within

from muniment.errors import BusyError, StorageError
from muniment.event.model import Arrival
from muniment.ingest.pull.done import Done
from muniment.ingest.pull.s3 import S3Pull
from muniment.ingest.pull.settings import S3Settings

_NOW_NS = 1_795_478_400 * 10**9  # 2026-11-24
_DAY = "AWSLogs/111122223333/CloudTrail/{region}/2026/11/{day:02d}/"


@pytest.fixture(scope="module", autouse=True)
def _credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


class Cloud:
    """A bucket and a queue."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.bucket = url, name
        self.s3 = boto3.client("s3", endpoint_url=url)
        self.sqs = boto3.client("sqs", endpoint_url=url)
        self.s3.create_bucket(Bucket=name)
        self.queue: str = self.sqs.create_queue(QueueName=name)["QueueUrl"]

    def put(self, key: str, first: int, n: int) -> str:
        """A CloudTrail file with the events numbered from `first`."""
        events = [
            {
                "eventVersion": "1.09", "eventID": f"00000000-0000-4000-8000-{number:012d}", "eventName": "GetObject",
                "eventSource": "s3.amazonaws.com", "eventTime": "2026-11-24T10:00:00Z", "awsRegion": "eu-central-1",
                "userIdentity": {"type": "IAMUser", "userName": f"u{number % 7}", "arn": "arn:aws:iam::111122223333:user/u"},
                "sourceIPAddress": "203.0.113.9", "eventType": "AwsApiCall", "requestParameters": None,
            }
            for number in range(first, first + n)
        ]  # fmt: skip
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=gzip.compress(json.dumps({"Records": events}).encode()))
        return key

    def tell(self, *keys: str) -> None:
        """What S3 says to the queue."""
        records = [
            {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": self.bucket}, "object": {"key": key}}}
            for key in keys
        ]
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=json.dumps({"Records": records}))

    def waiting(self) -> int:
        """Messages in the queue, be they held by somebody."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"]
        return sum(int(found[name]) for name in names)


class Ledger:
    """Keeps an id once, as the real one does; may be busy or broken."""

    def __init__(self) -> None:
        self.ids: Counter[str] = Counter()
        self.quarantined: list[bytes] = []
        self.fails: list[Exception] = []

    def submit(self, arrival: Arrival) -> None:
        if self.fails:
            raise self.fails.pop()
        assert arrival.ids is not None
        self.ids.update(str(each) for each in arrival.ids)
        reasons = arrival.quarantined or [None] * len(arrival.records)
        self.quarantined += [record for record, why in zip(arrival.records, reasons, strict=True) if why]


def _pull(cloud: Cloud, ledger: Ledger, folder: Path, **more: Any) -> S3Pull:
    settings = S3Settings("aws", cloud.bucket, endpoint=cloud.url, region="us-east-1", **more)
    done = Done(sa.create_engine(f"sqlite:///{folder / 'done.db'}"))
    return S3Pull(settings, done, ledger.submit, lambda: _NOW_NS)


def test_a_listing_misses_no_late_object_and_fetches_none_twice(store: str, tmp_path: Path) -> None:
    cloud, ledger = Cloud(store, "listed"), Ledger()
    cloud.put(_DAY.format(region="eu-central-1", day=23) + "a.json.gz", 0, 10)
    cloud.put(_DAY.format(region="us-east-1", day=24) + "b.json.gz", 10, 10)
    cloud.put(_DAY.format(region="us-east-1", day=1) + "old.json.gz", 900, 1)
    cloud.put(
        _DAY.format(region="us-east-1", day=24).replace("CloudTrail/", "CloudTrail-Digest/") + "d.json.gz", 910, 1
    )
    cloud.s3.put_object(
        Bucket="listed", Key=_DAY.format(region="us-east-1", day=24) + "x.json.gz", Body=b"\x1f\x8bbroken"
    )
    pull = _pull(cloud, ledger, tmp_path, prefix="AWSLogs/", since="2026-11-20")
    pull.round()
    assert pull.state.objects == 3
    assert pull.state.broken == 1
    assert len(ledger.ids) == 21
    assert b"x.json.gz" in ledger.quarantined[0]
    again = _pull(cloud, ledger, tmp_path, prefix="AWSLogs/", since="2026-11-20")
    again.round()
    assert again.state.objects == 0
    cloud.put(_DAY.format(region="eu-central-1", day=22) + "late.json.gz", 20, 5)
    cloud.put(_DAY.format(region="ap-south-1", day=24) + "new-region.json.gz", 25, 5)
    again.round()
    assert again.state.objects == 2
    assert len(ledger.ids) == 31
    assert set(ledger.ids.values()) == {1}


def test_a_message_goes_only_when_its_events_are_kept(store: str, tmp_path: Path) -> None:
    cloud, ledger = Cloud(store, "told"), Ledger()
    pull = _pull(cloud, ledger, tmp_path, queue=cloud.queue)
    cloud.tell(cloud.put("a.json.gz", 0, 12_000), "gone.json.gz")
    ledger.fails = [StorageError("the disk is full"), BusyError("wait", retry_after_ms=1)]
    with pytest.raises(StorageError):
        pull.round()
    assert cloud.waiting() == 1
    held = cloud.sqs.receive_message(QueueUrl=cloud.queue, VisibilityTimeout=0)
    assert "Messages" not in held  # nobody else gets it meanwhile
    cloud.tell("a.json.gz")
    pull.round()
    assert cloud.waiting() == 1  # the second message is done, the first comes back when its time is over
    assert len(ledger.ids) == 12_000
    cloud.sqs.send_message(QueueUrl=cloud.queue, MessageBody="nonsense")
    pull.round()
    assert pull.state.not_understood == 1
    assert cloud.waiting() == 2  # left for the dead letters


def test_a_server_killed_again_and_again_has_every_event_once(store: str, tmp_path: Path) -> None:
    cloud = Cloud(store, "killed")
    for number in range(12):
        key = cloud.put(
            _DAY.format(region="eu-central-1", day=10 + number) + f"{number}.json.gz", number * 1_000, 1_000
        )
        assert key
    (tmp_path / "pull.toml").write_text(
        f'[[s3]]\nsource = "aws"\nbucket = "killed"\nendpoint = "{store}"\nevery_s = 1\nlate_days = 30\nregion = "us-east-1"\n'
    )
    server = LiveServer(tmp_path)
    server._settings = {**server._settings, "pull": str(tmp_path / "pull.toml")}
    for pause in (0.1, 0.6):
        server.start()
        time.sleep(pause)  # any moment will do
        server.kill()
    server.start()
    try:
        within(20, lambda: _count(server) >= 12_000, "not all events came")
        within(5, lambda: server.get("/api/v1/status")["store"]["pending"] == 0, "the store is behind")
        assert _count(server) == 12_000
        assert server.get("/api/v1/status")["doors"]["pull-aws"][0] == "s3://killed/"
        found = server.rows("source:aws format:aws_cloudtrail action:object.get", limit=3)
        assert len(found) == 3
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text("utf-8", "replace")


def _count(server: LiveServer) -> int:
    found = server.get("/api/v1/facets", q="source:aws", fields="source")
    return sum(int(value["count"]) for value in found["facets"]["source"])
