"""Who may come in, how much, from where."""

import time

import cramjam
import pytest
from door_harness import TOKEN, OneKey

from muniment.errors import BusyError, ConfigError, DeniedError, RejectedError
from muniment.ingest.admission import Admission, Quota, TrustedProxies, credential_of
from muniment.ingest.decode import decode_content, decode_snappy_block


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_nobody_and_strangers_are_denied_alike() -> None:
    admission = Admission(OneKey())
    with pytest.raises(DeniedError) as nobody:
        await admission.authenticate(None, peer="")
    assert not nobody.value.is_authenticated
    for token in ("wrong", "x" * 100_000, "\ud800"):
        with pytest.raises(DeniedError) as stranger:
            await admission.authenticate(token, peer="")
        assert stranger.value.is_authenticated


async def test_verdicts_are_cached_for_a_while_and_forgotten_on_demand() -> None:
    keys, clock = OneKey(), Clock()
    admission = Admission(keys, clock=clock)
    for _ in range(5):
        assert await admission.authenticate(TOKEN, peer="") == "app"
    assert keys.lookups == 1
    admission.forget()
    await admission.authenticate(TOKEN, peer="")
    clock.now += 3600
    await admission.authenticate(TOKEN, peer="")
    assert keys.lookups == 3


def test_a_quota_refills_with_time_and_says_when() -> None:
    clock = Clock()
    admission = Admission(OneKey(), quota_of=lambda source: Quota(events_per_s=100, burst_s=1), clock=clock)
    admission.spend("app", 100, 1)
    with pytest.raises(BusyError) as over:
        admission.spend("app", 50, 1)
    assert over.value.is_quota
    assert over.value.retry_after_ms == 500
    admission.spend("other", 100, 1)
    clock.now += 0.5
    admission.spend("app", 50, 1)


def test_a_request_larger_than_the_allowance_passes_once_and_is_paid_back() -> None:
    clock = Clock()
    admission = Admission(OneKey(), quota_of=lambda source: Quota(bytes_per_s=10, burst_s=1), clock=clock)
    admission.spend("app", 1, 100)
    with pytest.raises(BusyError) as over:
        admission.spend("app", 1, 1)
    assert over.value.retry_after_ms > 9_000


def test_rejections_are_counted_and_handed_over_once() -> None:
    admission = Admission(OneKey())
    for _ in range(3):
        admission.reject("app", "http", "body")
    (taken,) = admission.take_rejections()
    assert (taken.source, taken.door, taken.reason, taken.count) == ("app", "http", "body", 3)
    assert admission.take_rejections() == []


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("198.51.100.9", {"x-forwarded-for": "1.1.1.1"}, "198.51.100.9"),
        ("10.0.0.1", {"x-forwarded-for": "203.0.113.7"}, "203.0.113.7"),
        ("10.0.0.1", {"x-forwarded-for": "6.6.6.6, 203.0.113.7, 10.0.0.2"}, "203.0.113.7"),
        ("10.0.0.1", {"x-forwarded-for": "203.0.113.7:4711"}, "203.0.113.7"),
        ("::ffff:10.0.0.1", {"x-forwarded-for": "[2001:db8::1]:443"}, "2001:db8::1"),
        ("10.0.0.1", {"x-forwarded-for": "::ffff:203.0.113.7"}, "203.0.113.7"),
        ("10.0.0.1", {"forwarded": 'for="[2001:db8::1]:4711";proto=https, for=10.0.0.3'}, "2001:db8::1"),
        ("10.0.0.1", {"forwarded": "For=203.0.113.7;by=10.0.0.1", "x-forwarded-for": "9.9.9.9"}, "203.0.113.7"),
        ("10.0.0.1", {"forwarded": "for=unknown"}, "10.0.0.1"),
        ("10.0.0.1", {"x-forwarded-for": "garbage, 10.0.0.2"}, "10.0.0.2"),
        ("10.0.0.1", {}, "10.0.0.1"),
        ("fe80::1%eth0", {}, "fe80::1"),
        ("", {}, ""),
    ],
)
def test_the_client_is_the_first_hop_that_is_no_trusted_proxy(peer: str, headers: dict[str, str], client: str) -> None:
    assert TrustedProxies(["10.0.0.0/8"]).client(peer, headers) == client


def test_a_mistyped_proxy_network_stops_the_start() -> None:
    with pytest.raises(ConfigError, match="trusted_proxies"):
        TrustedProxies(["10.0.0.0/99"])


@pytest.mark.parametrize("header", ["", "Bearer", "Digest x", "Basic !!!", "ApiKey", "Basic Og=="])
def test_headers_without_a_credential(header: str) -> None:
    assert credential_of(header) is None


@pytest.mark.parametrize("codec", ["gzip", "deflate", "zstd", "snappy"])
def test_bombs_end_early(codec: str) -> None:
    zeros = bytes(200 << 20)
    pack = {"gzip": cramjam.gzip, "deflate": cramjam.zlib, "zstd": cramjam.zstd, "snappy": cramjam.snappy}[codec]
    bomb = bytes(pack.compress(zeros))
    started = time.perf_counter()
    with pytest.raises(RejectedError) as refused:
        decode_content(bomb, codec)
    assert refused.value.status == 413
    assert time.perf_counter() - started < 1


def test_a_snappy_block_that_lies_about_its_size_costs_nothing() -> None:
    with pytest.raises(RejectedError) as refused:
        decode_snappy_block(b"\xff\xff\xff\x1f" + b"\0" * 10)
    assert refused.value.status == 413
    with pytest.raises(RejectedError):
        decode_snappy_block(b"\xff\xff\xff\xff\xff\xff")


@pytest.mark.parametrize("codec", ["gzip", "deflate", "zstd", "snappy"])
@pytest.mark.parametrize("damage", ["cut", "trailing", "garbage", "empty"])
def test_damaged_bodies_are_refused(codec: str, damage: str) -> None:
    pack = {"gzip": cramjam.gzip, "deflate": cramjam.zlib, "zstd": cramjam.zstd, "snappy": cramjam.snappy}[codec]
    good = bytes(pack.compress(b'{"a":1}' * 100))
    body = {"cut": good[:-2], "trailing": good + b"xx", "garbage": b"\x07garbage", "empty": b""}[damage]
    with pytest.raises(RejectedError) as refused:
        decode_content(body, codec)
    assert refused.value.status in {400, 413}
