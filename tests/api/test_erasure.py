"""A person is erased by two administrators; every proof still verifies, and no search finds them any more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.live import LiveServer, within


def _event(number: int, mail: str, name: str) -> dict[str, object]:
    actor = {"id": f"u-{number}", "name": f"{name} Quillfeather", "email": mail}
    return {"action": "file.read", "actor": actor, "targets": [{"type": "file", "id": str(number)}]}


def test_two_administrators_erase_a_person_and_the_proofs_stay(live_server: LiveServer, tmp_path: Path) -> None:
    server = live_server
    key = server.key_for("erasing", "sealed")
    gone, kept = "zwetschge@example.org", "birne@example.org"
    first = server.send(key, _event(4711, gone, "zwetschge"), _event(4712, kept, "birne"))["first_index"]
    server.one(f"actor_email:{gone}")
    post = server.reader(role="administrator", owner="first").post
    assert post("/api/v1/erasures", json={"identifier": "nobody@example.org", "reason": "why"}).status_code == 404
    named = post("/api/v1/erasures", json={"identifier": "u-4711", "reason": "U-4711 wrote to us"})
    assert (named.status_code, named.json()["error"]["field"]) == (400, "reason")

    asked = post(
        "/api/v1/erasures", json={"identifier": "u-4711", "source": "erasing", "reason": "request 2026-17"}
    ).json()
    assert asked["subjects"] >= 1
    path = f"/api/v1/erasures/{asked['number']}/approval"
    own = post(path)
    assert (own.status_code, own.json()["error"]["permission"]) == (403, "admin")
    assert server.rows(f"actor_email:{gone}")
    with server.reader(role="administrator", owner="second") as second:
        assert second.post("/api/v1/erasures/99999/approval").status_code == 404
        assert second.post(path).status_code == 202
        within(30, lambda: second.post(path).json()["error"]["field"] == "number", "not erased")  # done, not under way
        assert second.post(path).status_code == 409
        server.one("action:privacy.erased", 30)

    assert server.rows(f"actor_email:{gone}") == []
    assert server.rows("zwetschge -source:muniment") == []
    assert server.rows(f"actor_email:{kept}")
    assert "zwetschge" not in json.dumps(server.get(f"/api/v1/events/{first}"))
    done = server.get("/api/v1/erasures")["erasures"][-1]
    assert (done["identifier"], done["subjects"]) == ("", 0)
    erase = server.get(f"/api/v1/events/{server.one('action:privacy.erase')['index']}")["record"]
    record = json.loads(erase)
    assert record["metadata"]["reason"] == "request 2026-17"
    assert record["metadata"]["asked_by"] != record["actor"]["id"]
    assert "zwetschge" not in erase
    assert "u-4711" not in erase

    evidence = tmp_path / "evidence.zip"
    evidence.write_bytes(server.client.get(f"/api/v1/evidence?indexes={first},{first + 1}").content)
    vkey = server.get("/api/v1/log-keys")["vkeys"][0]
    command = [sys.executable, "-m", "muniment.evidence", str(evidence), "--vkey", vkey]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
