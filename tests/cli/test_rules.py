"""`muniment rules` without a server: what cannot be run is said, what matches is shown with its author."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.cli.terminal import MUNIMENT

RULE = """title: Shell from a web server
id: 271de298-cc0e-4842-acd8-079a0a99ea65
author: Anna Example
level: high
logsource: {product: windows, category: process_creation}
detection:
  selection: {ParentImage|endswith: '\\w3wp.exe', Image|endswith: '\\cmd.exe'}
  condition: selection
"""
EVENT = {"Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1, "Image": "C:\\Windows\\cmd.exe", "ParentImage": "C:\\W3WP.exe"}  # fmt: skip


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MUNIMENT, "rules", *words], capture_output=True, text=True, check=False)


def test_check_names_the_rule_and_the_reason(tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text(RULE)
    (tmp_path / "old.yml").write_text(RULE.replace("condition: selection", "condition: selection | count() > 5"))
    done = _run("check", str(tmp_path))
    assert done.returncode == 2
    assert "old.yml" in done.stdout
    assert "1 can be run (1 high), 1 cannot" in done.stdout
    (refused,) = json.loads(_run("check", str(tmp_path), "--json").stdout)["refused"]
    assert refused["title"] == "Shell from a web server"
    (tmp_path / "old.yml").unlink()
    assert _run("check", str(tmp_path)).returncode == 0


def test_check_names_log_sources_that_no_entry_serves(tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text(RULE)
    nobody = RULE.replace("product: windows, category: process_creation", "product: os2, service: desk")
    (tmp_path / "os2.yml").write_text(nobody.replace("271de298", "271de299"))
    found = json.loads(_run("check", str(tmp_path), "--json").stdout)
    assert found["without_source"] == [{"logsource": "product os2, service desk", "rules": 1}]
    assert "1 rule is about product os2, service desk" in _run("check", str(tmp_path)).stderr


def test_check_names_fields_that_no_record_of_the_log_source_holds(tmp_path: Path) -> None:
    (tmp_path / "linux.yml").write_text(RULE.replace("product: windows", "product: linux"))
    (tmp_path / "windows.yml").write_text(RULE.replace("271de298", "271de299"))
    remark = (
        "names ParentImage, which records of auditd of linux process_creation never hold: "
        "it can match records of laurel, sysmon_linux, tetragon only"
    )
    done = _run("check", str(tmp_path))
    assert done.returncode == 0
    assert f"linux.yml: {remark} (it runs all the same)" in " ".join(done.stderr.split())
    assert json.loads(_run("check", str(tmp_path), "--json").stdout)["remarks"] == [
        {"file": str(tmp_path / "linux.yml"), "remark": remark}
    ]


def test_matches_are_shown_with_their_author(tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text(RULE)
    elsewhere = EVENT | {"EventID": 11}
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, [elsewhere, EVENT])) + "\n")
    words = ("test", str(tmp_path / "good.yml"), "--events", str(tmp_path / "events.jsonl"))
    done = _run(*words)
    assert done.returncode == 0, done.stderr
    assert "Anna Example" in done.stdout
    assert "matches: 1, events: 2, rules: 1" in done.stdout
    (match,) = json.loads(_run(*words, "--json").stdout)["matches"]
    assert (match["line"], match["level"], match["author"]) == (2, "high", "Anna Example")


def test_what_is_no_event_is_named(tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text(RULE)
    (tmp_path / "events.jsonl").write_text('{"a":1}\n[1]\n')
    done = _run("test", str(tmp_path / "good.yml"), "--events", str(tmp_path / "events.jsonl"))
    assert done.returncode == 2
    assert "line 2 is not a JSON object" in done.stderr
    assert "cannot read it" in _run("check", str(tmp_path / "nothing.yml")).stderr
    (tmp_path / "empty").mkdir()
    assert "no rule file" in _run("check", str(tmp_path / "empty")).stderr


def test_a_broken_trial_file_is_named_and_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "shop.yml").write_text(RULE)
    (tmp_path / "a.events.yml").write_text("- name: one\n  finds: []\n  events:\n    - {actoin: x}\n")
    (tmp_path / "b.events.yml").write_text("- name: two\n  finds: [no_such]\n  events:\n    - {action: x}\n")
    done = _run("test", str(tmp_path))
    assert done.returncode == 2, done.stdout
    assert f"{tmp_path}/a.events.yml:4:8" in done.stdout
    assert "there is no column 'actoin' in an event; did you mean action?" in done.stdout
    assert "b.events.yml:1  two" in done.stdout
    assert "missed no_such; no rule that runs is called no_such" in done.stdout
    assert "trials: 1, wrong: 1" in done.stdout


def test_check_refuses_what_the_server_would(tmp_path: Path) -> None:
    """A file that is no UTF-8, and the second of two rules with one id."""
    (tmp_path / "a.yml").write_text(RULE)
    (tmp_path / "b.yml").write_text(RULE)
    (tmp_path / "c.yml").write_bytes(RULE.encode() + b"author: J\xfcrgen\n")
    done = _run("check", str(tmp_path))
    assert done.returncode == 2
    assert f"that of {tmp_path}/a.yml" in done.stdout
    assert "not UTF-8: byte 0xfc" in done.stdout
    assert "1 can be run" in done.stdout


def test_a_level_that_is_none_cannot_be_run_and_remarks_on_correlations_are_said(tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text(RULE)
    (tmp_path / "odd.yml").write_text(RULE.replace("level: high", "level: terrible").replace("271de298", "271de299"))
    id = RULE.partition("id: ")[2].partition("\n")[0]
    many = f"{{type: event_count, rules: [{id}], timespan: 5m, condition: {{gte: 3}}}}"
    (tmp_path / "many.yml").write_text(f"title: Many\nstatus: nearly\nlevel: low\ncorrelation: {many}\n")
    done = _run("check", str(tmp_path))
    assert done.returncode == 2
    assert "'terrible' is not a valid Sigma rule level" in done.stdout
    assert "there are informational, low, medium, high, critical" in done.stdout
    assert "2 can be run (1 high, 1 low), 1 cannot" in done.stdout
    assert "'nearly' is not a valid Sigma rule status (it runs all the same)" in done.stderr


ORGANISATION = """title: Access is widened
name: widened
author: Anna Example
level: high
logsource: {product: github, service: audit}
detection:
  selection: {action: org.update_default_repository_permission}
  condition: selection
---
title: Again and again
name: again
level: high
correlation: {type: event_count, rules: [widened], group-by: [actor], timespan: 5m, condition: {gte: 2}, generate: true}
"""


def test_trials_of_rules_about_a_vendors_events_give_its_records(tmp_path: Path) -> None:
    record = "record: {action: org.update_default_repository_permission, actor: anna}"
    (tmp_path / "org.yml").write_text(ORGANISATION)
    trials = tmp_path / "org.events.yml"
    trials.write_text(
        f"- {{name: once, finds: [widened], events: [{{format: github, {record}}}]}}\n"
        f"- {{name: twice, finds: [widened, again], events: [{{format: github, repeat: 2, {record}}}]}}\n"
        f"- {{name: another vendor, finds: [], events: [{{format: okta, {record}}}]}}\n"
    )
    done = _run("test", str(tmp_path))
    assert (done.returncode, done.stdout.strip()) == (0, "trials: 3, wrong: 0, rules: 2")
    trials.write_text(f"- {{name: of no vendor, finds: [widened], events: [{{{record}}}]}}\n")
    done = _run("test", str(tmp_path))
    assert done.returncode == 10
    assert "no event here is one that widened is about: give it format: github" in " ".join(done.stdout.split())


SHOP = """title: Failed
name: failed
level: low
logsource: {product: muniment}
detection: {selection: {outcome: failure}, condition: selection}
---
title: A few accounts
name: few
level: high
correlation: {type: value_count, rules: [failed], group-by: [src_ip], timespan: 5m, condition: {field: actor_id, gte: 2, lt: 4}}
"""


def test_a_trial_ends_its_windows_and_says_whom_a_correlation_silences(tmp_path: Path) -> None:
    """What more events could undo (`lt`) is decided when the trial is over, though no later event is in it."""
    (tmp_path / "shop.yml").write_text(SHOP)
    events = "[{repeat: 3, action: user.login, outcome: failure, src_ip: 192.0.2.7, actor_id: u, varying: actor_id}]"
    trials = tmp_path / "shop.events.yml"
    trials.write_text(f"- {{name: three, finds: [few], events: {events}}}\n")
    done = _run("test", str(tmp_path))
    assert (done.returncode, done.stdout.strip()) == (0, "trials: 1, wrong: 0, rules: 2")
    trials.write_text(f"- {{name: three, finds: [few, failed], events: {events}}}\n")
    done = _run("test", str(tmp_path))
    assert done.returncode == 10
    assert "failed alerts nobody itself" in " ".join(done.stdout.split())


def test_a_files_events_try_no_correlation_and_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "org.yml").write_text(ORGANISATION)
    (tmp_path / "events.json").write_text(
        '{"action": "org.update_default_repository_permission", "actor": "anna"}\n' * 2
    )
    done = _run("test", str(tmp_path / "org.yml"), "--events", str(tmp_path / "events.json"))
    assert "matches: 2, events: 2, rules: 1" in done.stdout
    assert "correlations: 1; what needs several events is not tried" in " ".join(done.stderr.split())
