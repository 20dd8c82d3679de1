"""What a person sees: every command at 80 and 140 columns, as transcripts with their stable parts."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import shlex
import subprocess
import time
from itertools import takewhile
from pathlib import Path

import httpx
import pytest

from muniment.sources.connect import WAYS
from tests.cli.terminal import MUNIMENT, Shown, at_terminal
from tests.live import LiveServer, within

WIDTHS = [80, 140]
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


class Desk:
    """A terminal beside the live server, with some events of a source of its own."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.environ = {"MUNIMENT_DATA": str(server.folder)}
        key = server.key_for("cli-shop", "clear")
        events = [
            {
                "action": "invoice.approve-for-payment",
                "actor": {"id": "u1", "name": "Maximiliane Obermayer-Schlichting"},
                "targets": [{"type": "invoice", "id": f"i{k}", "name": f"Invoice {k} of a company with a long name"}],
                "outcome": "failure" if k else "success",
                "context": {"ip": "203.0.113.77"},
            }
            for k in range(3)
        ]
        self.index = int(server.send(key, *events)["first_index"])
        within(5, lambda: len(server.rows("source:cli-shop")) == 3, "not visible")

    def see(self, *words: str, columns: int = 80, interrupt_at: str = "") -> Shown:
        """At a terminal."""
        shown = at_terminal(words, columns, self.environ, interrupt_at=interrupt_at)
        assert "Traceback" not in shown.raw, shown.raw
        return shown

    def pipe(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Into a pipe."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("MUNIMENT_") and k != "COLUMNS"}
        done = subprocess.run(
            [*MUNIMENT, *words], env=env | self.environ | environ, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done


@pytest.fixture(scope="module")
def desk(live_server: LiveServer) -> Desk:
    return Desk(live_server)


def test_a_list_that_does_not_fit_says_the_rest_below(desk: Desk) -> None:
    shown = desk.see("rules", "list", columns=80)
    assert shown.code == 0
    head, *lines = shown.lines
    assert head.split() == ["level", "rule", "state", "id"]
    assert all(len(line) <= 80 for line in lines if not line.startswith("cannot be run"))
    at = next(k for k, line in enumerate(lines) if "A burst of failed logins from one address" in line)
    below = " ".join(takewhile(lambda line: line.startswith("  "), lines[at + 1 :]))
    assert "fed by" in below
    assert "author Muniment" in below
    wide = desk.see("rules", "list", columns=200).lines
    assert wide[0].split()[:4] == ["level", "rule", "state", "fed"]
    assert sum(line.startswith("  ") for line in wide) == 0


@pytest.mark.parametrize("columns", WIDTHS)
def test_search_is_one_line_an_event_time_first_and_number_last_and_dim(desk: Desk, columns: int) -> None:
    shown = desk.see("search", "source:cli-shop", columns=columns)
    assert shown.code == 0
    head, *rows, foot = shown.lines
    assert head.split() == (
        ["time", "who", "action", "target", "outcome", "index"]
        if columns == 80
        else ["time", "who", "action", "target", "outcome", "from", "source", "index"]
    )
    assert len(rows) == 3
    for number, row in enumerate(reversed(rows)):
        assert re.match(TIME + r" Maximil\S*", row)
        assert row.endswith(str(desk.index + number))
        assert ("failure" if number else "success") in row
        assert len(row) <= columns
        assert row == row.rstrip()
    if columns == 140:
        assert " 203.0.113.77 cli-shop " in rows[0]
    assert re.search(rf"\x1b\[2m *{desk.index}\x1b\[0m", shown.raw)
    assert re.fullmatch(r"3 shown; complete up to index \d+(, \d+ pending)?; \d+ ms", foot)


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("words", ["sources list", "keys list", "status", "verify", "rebuild", "search -- -source:x", "keys log"])  # fmt: skip
def test_no_line_is_longer_than_the_terminal(desk: Desk, words: str, columns: int) -> None:
    shown = desk.see(*words.split(), columns=columns)
    assert shown.code == 0, shown.lines
    if words != "keys log":  # keys are to be copied: whole, wherever the line ends
        assert max(map(len, shown.lines)) <= columns


def test_a_search_that_finds_nothing_in_its_time_says_that_there_is_something_older(desk: Desk) -> None:
    key = desk.server.key_for("cli-old", "sealed")
    old = {"action": "file.read", "actor": {"id": "u1"}, "occurred_at": "2026-01-15T09:05:00Z"}
    desk.server.send(key, old)
    within(5, lambda: desk.server.rows("source:cli-old"), "not visible")
    told = desk.pipe("search", "source:cli-old").stderr
    assert told.startswith("nothing since -24h; the newest is of 2026-01-15 09:05:00: --from '' shows all\n0 shown;")
    assert "file.read" in desk.pipe("search", "source:cli-old", "--from", "").stdout
    assert desk.pipe("search", "source:cli-nobody").stderr.startswith("0 shown;")


def test_a_pipe_has_no_edge_and_no_colour(desk: Desk) -> None:
    done = desk.pipe("search", "source:cli-shop")
    rows = done.stdout.splitlines()[1:]
    assert (
        "Maximiliane Obermayer-Schlichting invoice.approve-for-payment Invoice 2 of a company with a long name"
        in rows[0]
    )
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.startswith("3 shown;")


def test_the_tail_shows_lines_as_they_come_and_ends_with_ctrl_c(desk: Desk) -> None:
    shown = desk.see("tail", "action:log.tail", interrupt_at="log.tail")
    assert shown.code == 130
    row = next(line for line in shown.lines if "log.tail" in line)
    assert re.match(TIME + " ", row)
    assert len(row) <= 80


def test_show_is_fields_then_the_original(desk: Desk) -> None:
    shown = desk.see("show", str(desk.index))
    text = "\n".join(shown.lines)
    assert re.search(r"^index +\d+$", "\n".join(line.rstrip() for line in shown.lines), re.M)
    assert text.index("action") < text.index("original") < text.index('"targets": [')
    assert "::" not in text


def test_proof_evidence_and_verify_go_together(desk: Desk, tmp_path: Path) -> None:
    shown = desk.see("proof", str(desk.index))
    assert shown.lines[0] == "c2sp.org/tlog-proof@v1"
    evidence = tmp_path / "evidence.zip"
    done = desk.pipe("proof", str(desk.index), "--evidence", str(evidence))
    vkey = json.loads(desk.pipe("keys", "log", "--json").stdout)["vkeys"][0]
    command = f"muniment verify {evidence} --vkey '{vkey}'"
    assert done.stderr == f"written {evidence}; it verifies anywhere, with the log's public key:\n  {command}\n"
    assert desk.pipe(*shlex.split(command)[1:]).returncode == 0  # as it stands there
    unpinned = desk.pipe("verify", str(evidence))
    assert unpinned.stdout == (
        "NOT VERIFIED: no key was pinned: a file cannot vouch for itself; give --vkey KEY, which 'muniment keys log' prints\n"
    )
    assert unpinned.returncode == 10
    assert json.loads(desk.pipe("verify", str(evidence), "--json").stdout)["verdict"] == "unverified"
    bad_key = desk.pipe("verify", str(evidence), "--vkey", "nonsense")
    assert bad_key.stdout.startswith("NOT VERIFIED: ")
    assert bad_key.returncode == 5
    evidence.write_bytes(evidence.read_bytes()[:-40])
    assert desk.pipe("verify", str(evidence), "--vkey", vkey).returncode != 0


def test_progress_bars_are_for_terminals_only(desk: Desk) -> None:
    assert "━" in desk.see("verify").raw
    done = desk.pipe("verify")
    assert "━" not in done.stdout + done.stderr
    assert done.stdout.startswith("verify: done\n")


@pytest.mark.parametrize(
    "words",
    [
        "search source:cli-shop", "show {index}", "proof {index}", "verify", "rebuild", "status", "sources list",
        "sources add cli-{width}", "sources add otel-{width} --for otel", "sources key cli-shop", "sources connect",
        "sources connect rsyslog", "export source:cli-shop -o /dev/null", "keys list", "keys new x", "keys log", "login cli-{width}",
    ],
)  # fmt: skip
def test_json_is_one_value_that_parses(desk: Desk, words: str) -> None:
    done = desk.pipe(*words.format(index=desk.index, width=time.time_ns()).split(), "--json")
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), dict)
    assert done.stdout.count("\n") == 1


def test_the_doctor_says_what_is_right_and_wrong(desk: Desk, tmp_path: Path) -> None:
    done = desk.pipe("doctor", "--json", "--data", str(tmp_path / "new"))
    found = json.loads(done.stdout)
    assert {"Python", "disk", "durable writes", "clock"} <= {each["check"] for each in found["checks"]}
    assert done.returncode == (0 if found["is_fine"] else 5)
    assert not (tmp_path / "new").exists()


def test_the_doctor_reads_the_files_that_settings_name_and_says_which_variables_nobody_reads(
    desk: Desk, tmp_path: Path
) -> None:
    notify, pull = tmp_path / "notify.toml", tmp_path / "pull.toml"
    notify.write_text('[[routes]]\nchannels = ["soc"]\n')
    pull.write_text('[[s3]]\nsource = "aws"\nbucket = "trail"\n')
    done = desk.pipe("doctor", "--json", MUNIMENT_NOTIFY=str(notify), MUNIMENT_PULL=str(pull), MUNIMENT_RULE="/x")
    checks = {each["check"]: (each["is_fine"], each["detail"]) for each in json.loads(done.stdout)["checks"]}
    assert checks["notify"] == (
        False, f"{notify}:2:13: routes 1.channels 1: there is no channel 'soc'; begin one with [channels.NAME]",
    )  # fmt: skip
    assert checks["pull"] == (True, "aws from trail")
    assert checks["MUNIMENT_RULE"] == (False, "is read by nobody; MUNIMENT_RULES may be meant")
    assert done.returncode == 5


ERRORS = [
    # words, environment, exit code, what the error says
    ("search --server http://127.0.0.1:9", {}, 5, "error server: cannot reach http://127.0.0.1:9 (Connection refused); is it running?"),
    ("search --server nonsense", {}, 5, "--server http://host:port names another"),
    ("search --server http://a:b", {}, 5, "write http://host:port"),
    ("search", {"MUNIMENT_DATA": "/nonexistent"}, 5, "start one with 'muniment serve', or give --server and MUNIMENT_KEY"),
    ("search", {"MUNIMENT_KEY": "mk_a_b", "MUNIMENT_URL": "{url}"}, 3, "error this API key is not valid"),
    ("search", {"MUNIMENT_DATA": "/nonexistent", "MUNIMENT_URL": "{url}"}, 3, "error no key is given: set MUNIMENT_KEY"),
    ("search foo(", {}, 2, "  foo(\n     ^\nerror q: this parenthesis is never closed; add )\n  at column 4"),
    ("show 999999999", {}, 2, "error index: no record with index 999999999 is visible to you"),
    ("sources add BAD!", {}, 2, "error id: write lower-case letters, digits, '.', '_' and '-', first a letter or digit"),
    ("sources add x --for nonsense", {}, 2, "error for: there is no 'nonsense'; there are curl, rsyslog,"),
    ("sources add x --for rsyslog", {}, 2, "needs no source of its own: muniment sources connect rsyslog"),
    ("sources connect nonsense", {}, 2, "error sender: there is no 'nonsense'; there are curl, rsyslog,"),
    ("sources key nonsense", {}, 2, "error "),
    ("sources webhook x gitlab", {}, 2, "error kind: must be one of github, okta, auth0, slack, standard, got 'gitlab'"),
    ("sources webhook x slack", {}, 2, "error secret-file: Slack makes the secret"),
    ("sources format nonsense okta", {}, 2, "error id: there is no such source"),
    ("sources format muniment okta", {}, 2, "error id: Muniment itself writes it"),
    ("sources key muniment.alerts", {}, 2, "error id: Muniment itself writes it"),
    ("sources add other --format github_webhok", {}, 2, "did you mean github_webhook or "),
    ("sources webhook --remove", {}, 2, "error source: name the source"),
    ("sources webhook nonsense github", {}, 2, "error id: there is no such source"),
    ("keys new x --role king", {}, 2, "'king' is not one of 'reader', 'analyst', 'enforcer', 'administrator'"),
    ("export --json", {}, 2, "name one with --out"),
    ("keys revoke nope", {}, 2, "error key: there is no such key"),
    ("export --format zip", {}, 2, "Invalid value for '--format'"),
    ("export -o /nonexistent/x", {}, 6, "error /nonexistent/x: No such file or directory"),
    ("verify /nonexistent", {}, 6, "cannot read /nonexistent: No such file or directory"),
    ("verify --folder /nonexistent", {}, 10, "absence of proof is a failure"),
    ("sources test /dev/null", {}, 2, "error /dev/null: no event is in it"),
    ("sources test /nonexistent", {}, 2, "cannot read it: No such file or directory"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "environ", "code", "says"), ERRORS, ids=[each[0] for each in ERRORS])
def test_errors_name_the_fix_and_end_with_their_code(
    desk: Desk, words: str, environ: dict[str, str], code: int, says: str
) -> None:
    done = desk.pipe(*words.split(), **{name: text.format(url=desk.server.url) for name, text in environ.items()})
    assert says in done.stderr
    assert done.returncode == code
    assert done.stdout == ""


def test_a_reader_that_goes_away_is_no_error_to_talk_about(desk: Desk) -> None:
    env = os.environ | desk.environ
    for words in (
        ["export", "-o-"],
        ["search", "--limit", "1000"],
        ["search", "--json", "--limit", "1000"],
        ["status"],
    ):
        words = [word for word in words if word != "-o-"]
        with subprocess.Popen([*MUNIMENT, *words], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.read(1)
            process.stdout.close()
            said = process.stderr.read().decode()
        assert "Traceback" not in said, words
        assert "Exception" not in said, words


def test_help_loads_no_client_and_names_every_command(desk: Desk) -> None:
    env = os.environ | desk.environ
    done = subprocess.run(
        [MUNIMENT[0], "-X", "importtime", *MUNIMENT[1:], "--help"], env=env, capture_output=True, text=True, check=True
    )
    loaded = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert not loaded & {
        "httpx",
        "rich.progress",
        "rich.table.x",
        "starlette",
        "chdb",
        "pyarrow",
        "sqlalchemy",
        "cryptography",
    }
    for command in ("serve", "search", "tail", "show", "proof", "verify", "export", "rebuild", "keys", "sources", "status", "doctor"):  # fmt: skip
        assert f"\n  {command}" in done.stdout


def test_a_new_source_says_where_to_send_and_its_line_works_when_pasted(desk: Desk) -> None:
    name = f"cli-new-{time.time_ns()}"
    done = desk.pipe("sources", "add", name)
    key = re.search(r"mk_\S+", done.stdout)
    assert key
    assert desk.server.url in done.stdout
    assert desk.server.door("otlp-grpc") in done.stdout
    pasted = done.stdout.partition("try it\n")[2].partition("\n\n")[0]
    answer = subprocess.run(["sh", "-c", pasted], capture_output=True, text=True, check=True)
    assert '"accepted":1' in answer.stdout
    assert desk.server.one(f"source:{name}")["action"] == "document.delete"


def test_a_webhook_is_made_and_takes_what_its_sender_signs(desk: Desk, tmp_path: Path) -> None:
    name = f"cli-hook-{time.time_ns()}"
    desk.pipe("sources", "add", name)
    shown = desk.pipe("sources", "webhook", name, "github").stdout
    url, secret = re.search(r"URL +(http\S+)", shown), re.search(r"secret +([0-9a-f]{64}) ", shown)
    assert url
    assert secret
    body = b'{"action":"created"}'

    def sent(key: str) -> int:
        mac = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
        return httpx.post(url[1], content=body, headers={"X-Hub-Signature-256": f"sha256={mac}"}).status_code

    assert sent(secret[1]) == 200
    own = tmp_path / "secret"
    own.write_text("0123456789abcdef0123456789abcdef\n")
    assert "0123456789abcdef" not in desk.pipe("sources", "webhook", name, "github", "--secret-file", str(own)).stdout
    assert [sent(secret[1]), sent(own.read_text().strip())] == [401, 200]
    missing = desk.pipe("sources", "webhook", name, "github", "--secret-file", str(tmp_path / "none"))
    assert (missing.returncode, "Errno" in missing.stderr) == (2, False)
    for told in (desk.pipe("sources", "webhook", name).stdout, desk.pipe("sources", "webhook").stdout):
        assert re.search(rf"{name} +GitHub +1 20\S+ \S+ +1\n", told)
        assert f"{name}: 1 refused, wrong signature" in told
        assert own.read_text().strip() not in told
    assert url[1] in desk.pipe("sources", "webhook", name).stdout
    assert desk.pipe("sources", "webhook", name, "--remove").returncode == 1  # nobody says yes
    assert sent(own.read_text().strip()) == 200
    assert "is removed" in desk.pipe("sources", "webhook", name, "--remove", "--yes").stdout
    assert sent(own.read_text().strip()) == 401
    gone = desk.pipe("sources", "webhook", name)
    assert (gone.returncode, "has no webhook" in gone.stderr) == (2, True)


def test_a_source_is_read_with_an_entry_and_by_content_again(desk: Desk) -> None:
    name = f"cli-read-{time.time_ns()}"
    desk.pipe("sources", "add", name)
    assert f"{name} is read as okta, before: auto" in desk.pipe("sources", "format", name, "okta").stdout
    assert f"{name} is read as auto, before: okta" in desk.pipe("sources", "format", name, "auto").stdout


@pytest.mark.parametrize(
    "words", ["", "sources", "rules", "blocks", "alerts", "cases", "keys", "people", "orders", "notices", "erase"]
)
def test_the_list_of_commands_says_each_in_one_whole_sentence(desk: Desk, words: str) -> None:
    commands = desk.pipe(*words.split(), "--help").stdout.partition("Commands:\n")[2]
    assert commands
    assert "..." not in commands


@pytest.mark.parametrize("sender", [way.id for way in WAYS])
def test_what_is_to_be_pasted_stands_alone_and_names_the_door(desk: Desk, sender: str) -> None:
    done = desk.pipe("sources", "connect", sender, "--key", "mk_mine")
    text = done.stdout
    host, _, port = desk.server.door("syslog-tcp").rpartition(":")
    if sender in {"rsyslog", "syslog-ng"}:
        assert port in text
        assert host in text
        assert "source 'syslog'" in done.stderr
    else:
        assert desk.server.url.removeprefix("http://") in text
        assert "mk_mine" in text
    assert "mk_YOUR_KEY" not in text
    shown = desk.see("sources", "connect", sender)
    assert all(line in [each.rstrip() for each in shown.lines] for line in shown.lines[:3])
    assert "\x1b" not in done.stdout


def test_a_text_for_one_sender_can_be_redirected_with_its_key_in_it(desk: Desk) -> None:
    name = f"cli-otel-{time.time_ns()}"
    done = desk.pipe("sources", "add", name, "--for", "otel-python")
    assert "its key is in the text" in done.stderr
    compile(done.stdout, "pasted", "exec")
    assert "mk_YOUR_KEY" not in done.stdout
    another = desk.pipe("sources", "key", name, "--for", "otel").stdout
    assert another.startswith("export OTEL_")
    assert re.findall(r"mk_\w+?_", another) != re.findall(r"mk_\w+?_", done.stdout)


def test_an_export_is_whole_or_not_there(desk: Desk, tmp_path: Path) -> None:
    out = tmp_path / "export.jsonl"
    done = desk.pipe("export", "source:cli-shop", "--out", str(out), "--json")
    assert json.loads(done.stdout) == {"written": str(out), "bytes": out.stat().st_size, "format": "jsonl"}
    assert len(out.read_text("utf-8").splitlines()) == 3
    before = out.read_bytes()
    assert desk.pipe("export", "broken(", "--out", str(out)).returncode == 2
    assert out.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["export.jsonl"]


def test_the_status_says_where_every_door_is_and_which_process_it_is(desk: Desk) -> None:
    done = desk.pipe("status")
    for path in ("/v1/events", "/v1/logs", "/_bulk", "/services/collector", "/loki/api/v1/push", "/v1/cloudevents"):
        assert re.search(rf"^\S+ +{desk.server.url}{path}", done.stdout, re.M)
    pid = (desk.server.folder / "pid").read_text("ascii").strip()
    assert re.search(rf"^pid +{pid} *$", done.stdout, re.M)
    assert "muniment sources connect" in done.stderr


def test_the_doctor_knows_the_ports_of_its_own_server(desk: Desk) -> None:
    done = desk.pipe("doctor", "--json", MUNIMENT_PORT=str(desk.server.port))
    port = next(each for each in json.loads(done.stdout)["checks"] if each["check"] == "port")
    assert port["is_fine"]
    assert "where the server of this folder listens" in port["detail"]


def test_a_line_of_text_without_an_action_shows_what_it_says(desk: Desk) -> None:
    key = desk.server.key_for("cli-text", "clear")
    desk.server.send(key, {"message": "the lights went out", "action": ""})
    desk.server.one("source:cli-text")
    assert "the lights went out" in desk.pipe("search", "source:cli-text").stdout


def test_beside_a_demo_the_missing_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "var/demo").mkdir(parents=True)
    (tmp_path / "var/demo/cli.json").write_text("{}")
    env = {k: v for k, v in os.environ.items() if not k.startswith("MUNIMENT_")}
    done = subprocess.run([*MUNIMENT, "search"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "a demo runs here: add --data var/demo" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints(desk: Desk, shell: str) -> None:
    asked_by_name = {
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"
    }  # not the shell that the tests were started by
    done = desk.pipe("--show-completion", shell, **asked_by_name)
    assert done.returncode == 0
    assert "muniment" in done.stdout
