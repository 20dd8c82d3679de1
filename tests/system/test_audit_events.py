"""Linux audit through the real syslog door: one row says who did what to which file, until the person is erased."""

from __future__ import annotations

import json
import socket

from tests.live import LiveServer, within


def _lines(host: str, number: int, who: str, file: str) -> list[str]:
    mark = f"msg=audit(1795424500.001:{number}):"
    texts = [
        f"type=SYSCALL {mark} arch=c00000b7 syscall=35 success=yes exit=0 items=2 ppid=1 pid=2 auid=1000 uid=0 tty=pts1 ses=41 "
        f'comm="rm" exe=2F7573722F62696E2F726D key="files"\x1dARCH=aarch64 SYSCALL=unlinkat AUID="{who}" UID="root"',
        f'type=CWD {mark} cwd="/etc"',
        f'type=PATH {mark} item=0 name={file.encode().hex().upper()} inode=9 nametype=DELETE\x1dOUID="root"',
        f"type=PROCTITLE {mark} proctitle=726D0061",
    ]
    return [f"<13>Nov 27 09:00:00 {host} audisp-syslog: {text}" for text in texts]


def test_who_deleted_it_is_one_row_and_goes_with_the_person(live_server: LiveServer) -> None:
    server = live_server
    host, port = server.door("syslog-tcp").rsplit(":", 1)
    lines = zip(
        _lines("plum-1", 815, "zwetschge", "a secret plan"), _lines("pear-1", 815, "birne", "another plan"), strict=True
    )
    with socket.create_connection((host.rsplit("/", 1)[-1], int(port))) as door:
        for pair in lines:
            for line in pair:
                door.sendall(line.encode() + b"\n")
    row = server.one('action:file.delete target:"/etc/a secret plan"', 20)
    said = {name: row[name] for name in ("actor_name", "actor_id", "outcome", "app", "dst_host", "target_name")}
    assert said == {
        "actor_name": "zwetschge", "actor_id": "1000", "outcome": "success", "app": "/usr/bin/rm", "dst_host": "plum-1",
        "target_name": "a secret plan",
    }  # fmt: skip
    assert server.one('target:"/etc/another plan"', 20)["actor_name"] == "birne"
    assert len(server.rows("actor:zwetschge host:plum-1")) == 4
    assert b"zwetschge" not in json.dumps(server.get(f"/api/v1/events/{row['index']}")["record"]).encode()

    with server.reader(role="administrator", owner="first") as first:
        asked = first.post("/api/v1/erasures", json={"identifier": "zwetschge", "reason": "request 2026-18"}).json()
    with server.reader(role="administrator", owner="second") as second:
        assert second.post(f"/api/v1/erasures/{asked['number']}/approval").status_code == 202
    within(60, lambda: server.one("action:privacy.erased", 60), "not erased")
    assert server.rows("actor:zwetschge") == []
    assert server.rows("zwetschge -source:muniment") == []
    assert server.one('action:file.delete target:"/etc/a secret plan"', 20)["actor_name"].startswith("{$sealed:")
    assert server.one('target:"/etc/another plan"', 20)["actor_name"] == "birne"
