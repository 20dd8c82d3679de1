"""What this machine needs to be reached and to reach others, as Linux says it."""

from __future__ import annotations

from pathlib import Path

from muniment.respond.surroundings import surroundings

FIB = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 198.51.100.20
        /32 host LOCAL
     |-- 198.51.100.255
        /32 link BROADCAST
"""
ROUTE = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t016433C6\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t006433C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""
ZERO = "0" * 32


def test_addresses_gateways_and_name_servers_are_found(tmp_path: Path) -> None:
    net = tmp_path / "proc" / "net"
    net.mkdir(parents=True)
    (net / "fib_trie").write_text(FIB)
    (net / "route").write_text(ROUTE)
    (net / "if_inet6").write_text("00000000000000000000000000000001 01 80 10 80       lo\n"
                                  "20010db8000000000000000000000020 02 40 00 80     eth0\n"
                                  "fe80000000000000000000fffe000001 02 40 20 80     eth0\n")  # fmt: skip
    (net / "ipv6_route").write_text(f"{ZERO} 00 {ZERO} 00 20010db8000000000000000000000001 00000400 1 0 3 eth0\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "resolv.conf").write_text(
        "# nameserver 10.0.0.9\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\n"
    )
    assert surroundings(tmp_path) == {
        "198.51.100.20": "an address of this server", "2001:db8::20": "an address of this server",
        "198.51.100.1": "the gateway of this server", "2001:db8::1": "the gateway of this server",
        "10.0.0.53": "a name server of this server",
    }  # fmt: skip


def test_where_nothing_is_told_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "proc" / "net").mkdir(parents=True)
    (tmp_path / "proc" / "net" / "route").write_bytes(b"\xff\xfe nonsense\nx y zz\n")
    assert surroundings(tmp_path) == {}
