"""Feeds say the whole truth, in forms their readers load; no reason becomes a directive."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.errors import RejectedError
from muniment.respond.block import Allowed, Block, canonical, overlapping
from muniment.respond.feeds import FEEDS, etag, rendered

NOW = 1_795_000_000 * 10**9
HOUR = 3_600 * 10**9
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
NFT = shutil.which("nft", path=PATH)


def block(value: str, hours: int = 1, kind: str = "", reason: str = "because") -> Block:
    known, text = canonical(kind or ("range" if "/" in value else "address"), value)
    return Block(f"b-{text}", known, text, reason, "active", "ana", NOW, "", NOW, NOW + hours * HOUR)


HOSTILE = "x\n}; deny all;\n# \u202e\x00 'y\" `rm`"


@pytest.mark.parametrize("name", sorted(FEEDS))
def test_a_reason_stays_in_its_comment(name: str) -> None:
    text = rendered(name, [block("203.0.113.7", reason=HOSTILE)], NOW).decode()
    if name == "stix.json":
        assert json.loads(text)["objects"][0]["description"] == HOSTILE
        return
    for line in text.splitlines():
        assert "deny all" not in line.partition("#")[0]
        assert "rm" not in line.partition("#")[0]


def test_each_feed_carries_its_kinds_only() -> None:
    blocks = [
        block("203.0.113.7"),
        block("2001:db8::/48"),
        block("anna@example.com", kind="account"),
        block("key-1", kind="key"),
    ]
    assert rendered("addresses.txt", blocks, NOW) == b"203.0.113.7\n2001:db8::/48\n"
    assert rendered("accounts.txt", blocks, NOW) == b"anna@example.com\n"
    assert rendered("keys.txt", blocks, NOW) == b"key-1\n"
    objects = json.loads(rendered("stix.json", blocks, NOW))["objects"]
    assert [each["pattern"] for each in objects] == [
        "[ipv4-addr:value = '203.0.113.7']", "[ipv6-addr:value ISSUBSET '2001:db8::/48']",
        "[user-account:user_id = 'anna@example.com']", "[x-api-key:value = 'key-1']",
    ]  # fmt: skip


def test_the_tag_changes_with_the_blocks_and_not_with_the_clock() -> None:
    one, other = [block("203.0.113.7")], [block("203.0.113.8")]
    assert etag("nftables.nft", one) == etag("nftables.nft", list(one))
    assert len({etag("nftables.nft", each) for each in ([], one, other, [*one, *other])}) == 4
    assert etag("nginx.conf", one) != etag("addresses.txt", one)


def test_a_clock_that_was_put_back_makes_no_element_of_nftables_longer() -> None:
    """An enforcer keeps an element for its time, should nobody fetch the next feed."""
    feed = rendered("nftables.nft", [block("203.0.113.7", 1)], NOW - HOUR).decode()
    assert "203.0.113.7 timeout 3600s" in feed
    assert "203.0.113.7 timeout 1800s" in rendered("nftables.nft", [block("203.0.113.7", 1)], NOW + HOUR // 2).decode()


@pytest.mark.skipif(NFT is None or os.getuid() != 0, reason="needs root and nftables")
def test_nft_keeps_an_address_as_long_as_its_longest_block() -> None:
    feed = rendered("nftables.nft", [block("203.0.113.0/24", 1), block("203.0.113.7", 2), block("2001:db8::1", 3)], NOW)
    script = f"nft -f - <<'X' && nft list ruleset\n{feed.decode()}X\n"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, check=False, env={"PATH": PATH}
    )
    if "unshare failed" in done.stderr:
        pytest.skip("network namespaces are not allowed here")
    assert done.returncode == 0, done.stderr
    assert "203.0.113.7 timeout 2h" in done.stdout
    assert "203.0.113.0-203.0.113.6 timeout 1h" in done.stdout
    assert "2001:db8::1 timeout 3h" in done.stdout


RANGES = st.tuples(st.integers(0, 63), st.sampled_from([26, 27, 28, 30, 32]), st.integers(1, 4))


@given(st.lists(RANGES, max_size=8))
def test_disjoint_elements_refuse_exactly_what_the_blocks_say(ranges: list[tuple[int, int, int]]) -> None:
    blocks = {
        str(net): block(str(net) if bits < 32 else f"192.0.2.{number}", hours)
        for number, bits, hours in ranges
        for net in [ip_network(f"192.0.2.{number}/{bits}", strict=False)]
    }
    until: dict[int, int] = {}
    for line in rendered("nftables.nft", list(blocks.values()), NOW).decode().splitlines():
        if line.startswith("add element"):
            span, _, rest = line.partition("{ ")[2].partition(" timeout ")
            first, _, last = span.partition("-")
            for address in range(int(ip_address(first)), int(ip_address(last or first)) + 1):
                assert address not in until
                until[address] = int(rest.partition("s")[0])
    for number in range(64):
        address = ip_address(f"192.0.2.{number}")
        hours = [(b.expires_at - NOW) // HOUR for b in blocks.values() if address in ip_network(b.value)]
        assert until.get(int(address)) == (max(hours) * 3_600 if hours else None)


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("address", "127.0.0.1", "no host"), ("address", "255.255.255.255", "no host"), ("range", "0.0.0.0/16", "no host"),
        ("range", "255.255.0.0/16", "no host"), ("address", "::ffff:240.0.0.1", "no host"),
        ("address", "not", "not an IP"), ("range", "10.0.0.0/8", "wider than /16"),
        ("range", "::/0", "every address"), ("range", "::/8", "every IPv4"), ("range", "0.0.0.0/0", "the whole internet"), ("range", "2001::/31", "wider than /32"),
        ("range", "198.51.100.9/24", "one address or 256. .* write 198.51.100.0/24, for the one 198.51.100.9"),
        ("range", "::ffff:198.51.100.9/120", "for the one 198.51.100.9"), ("range", "2001:db8:9::1/48", "for the one 2001:db8:9::1"),
        ("address", "198.51.100.9:443", "leave out the port, write 198.51.100.9"),
        ("address", "https://198.51.100.9/login", "write 198.51.100.9"), ("address", "198.51.100.09", "without leading zeros"),
        ("address", "198.51.100.9, 198.51.100.10", "one at a time"), ("address", "198.51.100. 9", "leave out the spaces"),
        ("address", "198.51.100.0/24", "it is a range, say so: 198.51.100.0/24"), ("address", "www.example.com", "a name can move"),
        ("address", "198.51.100.256", "at most 255"), ("address", "1" * 10_000, "not an IP"),
        ("account", "a\u202eb", "cannot be seen"), ("account", "a\u2028b", "cannot be seen"), ("account", "a\nb", "cannot be seen"),
        ("account", "", "fill it in"), ("account", "a" * 321, "longer than 320"), ("person", "x", "must be one"),
    ],
)  # fmt: skip
def test_what_cannot_be_blocked_is_refused(kind: str, value: str, words: str) -> None:
    with pytest.raises(RejectedError, match=words):
        canonical(kind, value)


@pytest.mark.parametrize(
    ("kind", "value", "same"),
    [
        ("address", "::ffff:198.51.100.7", "198.51.100.7"), ("address", "[2001:DB8::1]", "2001:db8::1"),
        ("range", "::ffff:198.51.100.0/120", "198.51.100.0/24"), ("range", "198.51.100.9/32", "198.51.100.9"),
        ("range", "::ffff:c633:6407/128", "198.51.100.7"), ("account", " \uff21nna@example.com ", "Anna@example.com"),
    ],
)  # fmt: skip
def test_no_spelling_of_a_value_is_another_value(kind: str, value: str, same: str) -> None:
    assert canonical(kind, value)[1] == same


def test_an_allowed_network_is_found_from_inside_and_outside() -> None:
    allowed = [Allowed("198.51.100.0/24", "Office", "ana", 0)]
    assert overlapping(ip_network("198.51.100.7/32"), allowed)
    assert overlapping(ip_network("198.51.0.0/16"), allowed)
    assert not overlapping(ip_network("198.51.101.0/24"), allowed)
    assert not overlapping(ip_network("2001:db8::/32"), allowed)
