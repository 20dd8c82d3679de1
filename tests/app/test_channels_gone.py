"""A channel that is taken out of the file: what waits for it is seen and recorded, goes on when it is back, or is discarded."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from tests.live import LiveServer, within
from tests.respond.servers import hooks

HEAD = 'allow = ["127.0.0.0/8"]\n'


def _channel(folder: Path, name: str, port: int) -> str:
    return (
        f'[channels.{name}]\nkind = "webhook"\nurl = "http://127.0.0.1:{port}/x"\nsecrets_file = "{folder}/secret"\n'
        f'[[routes]]\nchannels = ["{name}"]\nseverity = "informational"\n'
    )


def _letters(server: LiveServer, channel: str, state: str) -> list[dict[str, Any]]:
    found = server.get("/api/v1/notifications")["notifications"]
    return [each for each in found if (each["channel"], each["state"]) == (channel, state)]


def test_notices_for_a_channel_that_is_gone_are_seen_recorded_and_go_on(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    file = tmp_path / "notify.toml"
    (tmp_path / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    file.write_text(HEAD + _channel(tmp_path, "old", nobody))
    server = LiveServer(tmp_path)
    server._settings = {**server._settings, "notify": str(file)}
    server.start()
    try:
        failed = {
            "action": "user.login",
            "outcome": "failure",
            "actor": {"id": "g.one"},
            "context": {"ip": "203.0.113.70"},
        }
        server.send(server.key_for("gone", "clear"), *(failed for _ in range(12)))
        waiting = within(20, lambda: _letters(server, "old", "pending"), "nothing waits")
        server.stop()

        file.write_text(HEAD)
        server.start()
        dead = _letters(server, "old", "dead")
        assert {each["notice_id"] for each in dead} >= {each["notice_id"] for each in waiting}
        assert {each["remark"] for each in dead} == {"the channel is no longer configured"}
        assert not _letters(server, "old", "pending")
        record = server.one("action:notify.deliver", 10)
        assert record["outcome"] == "failure"
        browser = server.session()
        page = browser.get("/notices").text
        assert "Could not be delivered" in page
        assert "it goes on when its channel is in the file again" in page
        assert "Send again" not in page
        again = server.client.post(
            "/api/v1/notifications/revive", json={"notice_id": dead[0]["notice_id"], "channel": "old"}
        )
        assert again.status_code == 409
        assert "put it back into the file of `notify`" in again.json()["error"]["reason"]
        form = {"csrf": browser.headers["x-csrf-token"], "notice": dead[0]["notice_id"], "channel": "old"}
        assert browser.post("/notices/discard", data=form).status_code == 303
        assert server.one("action:notify.discard", 5)["outcome"] == "success"
        assert [each["notice_id"] for each in _letters(server, "old", "discarded")] == [dead[0]["notice_id"]]
        server.stop()

        with hooks() as receiver:
            file.write_text(HEAD + _channel(tmp_path, "old", receiver.port))
            server.start()
            if len(dead) > 1:
                within(20, lambda: len(receiver.posted) >= len(dead) - 1, "the others do not go on")
                assert server.one("action:notify.resume", 10)["outcome"] == "success"
            assert dead[0]["notice_id"] not in {posted.headers["webhook-id"] for posted in receiver.posted}
            server.stop()
    finally:
        server.stop()
    assert "Traceback" not in server.log.read_text("utf-8", "replace")


def test_what_was_noticed_just_before_a_stop_is_a_record(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    file = tmp_path / "notify.toml"
    server = LiveServer(tmp_path)
    server._settings = {**server._settings, "notify": str(file)}
    with hooks() as receiver:
        file.write_text(HEAD + _channel(tmp_path, "hook", receiver.port))
        server.start()
        try:
            assert (
                server.client.post("/api/v1/notifications/test", json={"channel": "hook"}).json()["state"]
                == "delivered"
            )
            server.stop()
            server.start()
            assert server.one("action:notify.deliver", 10)["outcome"] == "success"
        finally:
            server.stop()
