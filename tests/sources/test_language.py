"""Mistakes in a catalogue file are named file:line:column; the language does what its page says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from muniment.envelope import opened
from muniment.errors import RejectedError
from muniment.sources.catalogue import Catalogue, load_over, read_entry
from muniment.sources.located import as_plain, of_plain, read_yaml
from muniment.sources.testing import Recollection, map_records, recognise

HEAD = """\
name: demo
title: Demo
vendor: Demo
docs: docs/demo.md
owner: me
rhythm_s: 60
time: [at]
"""
SAMPLE = 'samples:\n  - {origin: mine, record: {"a": 1}, expect: {action: x}}\n'

MISTAKES = {
    "an unknown column": ("fields:\n  actr_id: a\n", 9, "no column 'actr_id'"),
    "text in a number": ("fields:\n  class_uid: =web\n", 9, "number column"),
    "a number in a text": ("fields:\n  action: 7\n", 9, "text column"),
    "an unknown operator": ("fields:\n  action: {uper: a}\n", 9, "no operator 'uper'"),
    "a bad path": ("fields:\n  action: 'a..b'\n", 9, "not a path"),
    "a bad pattern": ("cases:\n  - {text: a, pattern: '(', set: {action: =x}}\n", 9, "RE2 cannot read"),
    "two groups": ("fields:\n  action: {capture: a, pattern: '(a)(b)'}\n", 9, "one group"),
    "a group that is no column": ("cases:\n  - {text: a, pattern: '(?P<who>x)'}\n", 9, "no column: 'who'"),
    "half a class": ("cases:\n  - {when: {a: b}, set: {class_uid: 3002}}\n", 9, "set together"),
    "a case without a test": ("cases:\n  - {set: {action: =x}}\n", 9, "when or pattern"),
    "a case that is none": ("cases:\n  - 5\n", 9, "a case is a mapping"),
    "a rank in words": ("rank: first\n", 8, "whole numbers"),
    "a dangling name": ("fields:\n  action: $nothing\n", 1, "neither a let name nor a column"),
    "a circle": ("let:\n  a: $b\n  b: $a\n", 1, "depends on itself"),
    "an unknown key": ("colour: blue\n", 8, "no key 'colour'"),
    "a key twice": ("title: Again\n", 8, "stands twice"),
    "a bad test": ("recognise: {a: {like: b}}\n", 8, "a test is"),
    "a spelling nobody knows": ("personal:\n  - {text: a, pattern: x, spelling: rot13}\n", 9, "spelling is one of"),
    "earlier where nothing is together": ("fields:\n  action: $earlier\n", 1, "neither a let name nor a column"),
    "together without an event": ("together: {marks: x, text: a}\n", 8, "together needs event"),
    "marks that are none": ("together: {marks: [[]], text: a, event: '(x)'}\n", 8, "lists of which it has one"),
    "together by elements of arrays": ("together: {marks: x, text: 'a[0]', event: '(x)'}\n", 8, "without elements"),
    "a let named earlier": (
        "together: {marks: x, text: a, event: '(x)'}\nlet:\n  earlier: b\n",
        1,
        "a let needs another name",
    ),
    "a fragment that is not shared": ("let:\n  text: a\n  b: {shared: nothing}\n", 10, "no fragment 'nothing'"),
    "a fragment where it does not fit": (
        "let:\n  text: a\ncases:\n  - {shared: word_of_outcome}\n",
        11,
        "a case has no key",
    ),
    "a name that a fragment needs": ("let:\n  said: {shared: word_of_outcome}\n", 1, "$text is neither"),
    "a personal kind nobody knows": ("personal:\n  - {path: a, kind: shoe}\n", 9, "personal kind"),
}


def _entry(text: str) -> Any:
    return read_entry(HEAD + text + SAMPLE, "demo.yaml")


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_line(name: str) -> None:
    text, line, words = MISTAKES[name]
    with pytest.raises(RejectedError) as caught:
        _entry(text)
    assert re.fullmatch(rf"demo\.yaml:{line}:[1-9][0-9]*", caught.value.field), caught.value
    assert words in caught.value.reason


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("personal:\n  - {path: a, kind: shoe}\n", "9:5"),
        ("sigma:\n  product: x\n  fields: {a: [1]}\n", "10:12"),
        ("titel: x\n", "8:1"),
    ],
)
def test_a_mistake_is_named_with_its_column(text: str, place: str) -> None:
    with pytest.raises(RejectedError) as caught:
        _entry(text)
    assert caught.value.field == f"demo.yaml:{place}", caught.value


def test_what_is_kept_of_a_file_knows_its_places(tmp_path: Path) -> None:
    read = read_yaml("a: {b: [1, {c: 2}]}\n", "demo.yaml")
    again = of_plain(json.loads(json.dumps(as_plain(read))))
    assert again == read
    assert f"{again['a']['b'][1].lines['c']}" == "1:13"
    assert f"{again['a']['b'].lines[1]}" == "1:12"


def test_broken_yaml_is_named_with_its_line() -> None:
    with pytest.raises(RejectedError) as caught:
        read_entry("name: [a\ntitle: b\n", "demo.yaml")
    assert caught.value.field.startswith("demo.yaml:")


def test_a_pipe_among_the_entries_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    """Who opens a pipe waits for its writer."""
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "demo.yaml").write_text(HEAD + "fields:\n  action: =x\n" + SAMPLE)
    found, problems = load_over(Catalogue({}), tmp_path)
    assert (list(found), problems) == (["demo"], ("pipe.yaml: no regular file",))


def _map(client: Any, text: str, record: str) -> dict[str, str | int]:
    return map_records(_entry(text), [record.encode()], client)[0]


def test_a_shared_list_gives_its_items_and_a_sample_keeps_its_own(client: Any) -> None:
    text = """
personal:
  - {path: who, kind: name}
  - {shared: people_in_a_line}
let:
  text: a
  said: {shared: word_of_outcome}
fields:
  outcome: {shared: outcome_of_word}
"""
    entry = read_entry(
        HEAD + text + 'samples:\n  - {origin: mine, record: {"shared": "x"}, expect: {action: x}}\n', "x.yaml"
    )
    assert [row.get("path", row.get("text")) for row in entry.personal] == ["who", *["syslog.message"] * 9]
    assert entry.samples[0].record == b'{"shared": "x"}'
    assert map_records(entry, [b'{"a": "login was rejected"}'], client)[0]["outcome"] == "failure"


def test_a_path_reads_arrays_by_index_all_and_by_key(client: Any) -> None:
    rules = "fields:\n  actor_id: 'x[1].id'\n  actor_name: 'x[*].id'\n  app: 'x[type=b].id'\n  target_id: 'x[9].id'\n"
    row = _map(client, rules, '{"x":[{"type":"a","id":"1"},{"type":"b","id":2}]}')
    assert (row["actor_id"], row["actor_name"], row["app"], row["target_id"]) == ("2", "1, 2", "2", "")


def test_a_path_may_be_text_in_one_record_and_an_object_in_the_next(client: Any) -> None:
    rules = "fields:\n  actor_id: [who.id, who]\n"
    assert _map(client, rules, '{"who":{"id":"7"}}')["actor_id"] == "7"
    assert _map(client, rules, '{"who":"anna"}')["actor_id"] == "anna"


def test_a_key_with_dots_is_written_in_backquotes(client: Any) -> None:
    row = _map(client, "fields:\n  actor_id: ['`user.id`', user.id]\n", '{"user.id":"7"}')
    assert row["actor_id"] == "7"


def test_hexadecimal_digits_are_read_as_the_text_they_stand_for(client: Any) -> None:
    rules = "fields:\n  actor_name: {unhex: x}\n"
    texts = [_map(client, rules, record)["actor_name"] for record in ('{"x":"7669006D"}', '{"x":"766"}', '{"x":"vi"}')]
    assert texts == ["vi m", "", ""]


def test_an_entry_inside_another_may_be_recognised_alone(client: Any, catalogue: Catalogue) -> None:
    entry = _entry("inside: syslog\nrecognise: {syslog.app: demo}\nalone: {demo: {present: true}}\n")
    both = Catalogue({**catalogue, "demo": entry})
    records = [b'{"syslog":{"message":"x","app":"demo"}}', b'{"demo":1}', b'{"syslog":{"message":"x"}}']
    assert recognise(both, records, client) == ["demo", "demo", "syslog"]


def test_the_first_case_that_holds_decides(client: Any) -> None:
    rules = (
        "fields:\n  action: kind\ncases:\n"
        "  - {when: {kind: [a, b]}, set: {action: =first}}\n"
        "  - {when: {kind: b}, set: {action: =second}}\n"
        "  - {when: {kind: {starts: c}, n: {not: '1'}}, set: {action: =third}}\n"
    )
    kinds = ['{"kind":"b"}', '{"kind":"cc"}', '{"kind":"cc","n":1}', '{"kind":"d"}']
    found = [_map(client, rules, record)["action"] for record in kinds]
    assert found == ["first", "third", "cc", "d"]


def test_a_patterns_groups_fill_the_columns_they_name(client: Any) -> None:
    rules = "cases:\n  - {text: m, pattern: '^(?P<actor_name>[a-z]+) from (?P<src_ip>.+)$', set: {action: =x.y}}\n"
    row = _map(client, rules, '{"m":"anna from 203.0.113.7"}')
    assert (row["actor_name"], row["src_ip"], row["action"]) == ("anna", "203.0.113.7", "x.y")


@pytest.mark.parametrize(
    ("text", "address"),
    {
        "203.0.113.7": "203.0.113.7",
        "203.0.113.7:443": "203.0.113.7",
        "::ffff:203.0.113.7": "203.0.113.7",
        "[2001:db8::1]:443": "2001:db8::1",
        "fe80::1%eth0": "fe80::1",
        "203.0.113.7, 10.0.0.1": "203.0.113.7",
        "AWS Internal": "",
        "cafe.example.com": "",
        "999.1.1.1": "",
        "": "",
    }.items(),
)  # fmt: skip
def test_an_address_is_read_in_every_dress(client: Any, text: str, address: str) -> None:
    assert _map(client, "fields:\n  src_ip: ip\n", f'{{"ip":"{text}"}}')["src_ip"] == address


def test_any_record_becomes_a_row(client: Any, catalogue: Catalogue) -> None:
    records = [b"{}", b"not json", b'{"at":[]}', b'{"at":{"x":1}}', b'{"$quarantine":{}}']
    for entry in catalogue.values():
        for row in map_records(entry, records, client):
            assert row["time"] == "2026-11-23T12:00:00.000000Z"
            assert row["outcome"] in ("unknown", "success")


def test_a_batch_of_all_samples_is_recognised_at_once(client: Any, catalogue: Catalogue) -> None:
    pairs = [(entry.name, sample.record) for entry in catalogue.values() for sample in entry.samples]
    records = [opened(record)[0] for _, record in pairs]
    assert recognise(catalogue, records, client) == [name for name, _ in pairs]


def test_within_syslog_only_what_is_found_in_it_is_recognised(client: Any, catalogue: Catalogue) -> None:
    records = [catalogue[name].samples[0].record for name in ("openssh", "syslog", "okta")]
    assert recognise(catalogue, records, client, within="syslog") == ["openssh", "syslog", "syslog"]


def test_packed_addresses_numbers_and_arguments_are_read(client: Any) -> None:
    rules = (
        "fields:\n  actor_id: {packed: v4}\n  actor_name: {packed: v6}\n  target_id: {number: port}\n"
        "  target_name: {argv: text}\n  app: {other: v4, than: same}\n  reason: {other: v4, than: v6}\n"
    )
    text = r"x argc=4 a0=\"sh\" a1=2D63 a2[0]=61206200 a3=(null)"
    record = (
        f'{{"v4":"CB007107","v6":"20010DB8000000000000000000000007","port":"01BB","same":"CB007107","text":"{text}"}}'
    )
    row = _map(client, rules, record)
    assert (row["actor_id"], row["actor_name"], row["target_id"]) == ("203.0.113.7", "2001:db8::7", "443")
    assert (row["target_name"], row["app"], row["reason"]) == ("sh -c a b  (null)", "", "CB007107")
    row = _map(client, rules, '{"v4":"CB0071","v6":"zz","port":"","text":""}')
    assert [row[name] for name in ("actor_id", "actor_name", "target_id", "target_name")] == [""] * 4


TOGETHER = """together:
  marks: [job=, "["]
  text: [line, message]
  of: [host.name]
  event: 'job=([0-9]+)'
  kept: begins
let:
  who: {capture: $earlier, pattern: 'begins for ([a-z]+)'}
fields:
  actor_name: [{capture: line, pattern: 'begins for ([a-z]+)'}, $who]
"""


def test_a_record_reads_what_earlier_ones_of_its_event_say(client: Any) -> None:
    entry = _entry(TOGETHER)
    lines = [
        ("a", "[x] job=1 begins for anna"), ("b", "[x] job=1 begins for bert"), ("a", "[x] job=1 step"),
        ("b", "[x] job=1 step"), ("c", "[x] job=1 step"), ("a", "[x] job=2 step"), ("a", "job=1 step"),
    ]  # fmt: skip
    records = [f'{{"line":"{text}","host":{{"name":"{host}"}}}}'.encode() for host, text in lines]
    said = Recollection(Catalogue({"demo": entry})).of(records)
    assert said == ["", "", lines[0][1], lines[1][1], "", "", ""]
    names = [row["actor_name"] for row in map_records(entry, records, client, earlier=said)]
    assert names == ["anna", "bert", "anna", "bert", "", "", ""]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: " + "[" * 100_000, "nested deeper than 64 levels"),
        ("a: " + "[" * 900 + "]" * 900, "nested deeper than 64 levels"),
        ("{a: " * 50_000, "nested deeper than 64 levels"),
        ("- " * 100_000, "nested deeper than 64 levels"),
        ("a: &a\n  b: [*a]", "*a stands within what it names"),
        ("a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n" + "".join(
            f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
        ), "more than 100,000 values"),
    ],
    ids=["brackets", "closed brackets", "mappings", "lists", "itself", "aliases of aliases"],
)  # fmt: skip
def test_a_text_that_would_end_the_process_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RejectedError) as refused:
        read_entry(text, "own.yaml")
    assert reason in refused.value.reason
    assert refused.value.field.startswith("own.yaml:")


def test_a_let_may_have_any_name(client: Any) -> None:
    lets = "let:\n  type: {lower: kind}\n  case: {template: '{$type}-{$type}'}\n  time_text: who\n"
    fields = "fields:\n  action: [$type, $case]\n  target_type: $type\n  actor_name: $time_text\n  class_uid: {class: $type}\n"
    row = _map(client, lets + fields, '{"kind":"USER.LOGIN","who":"anna"}')
    assert (row["action"], row["actor_name"], row["class_uid"]) == ("user.login", "anna", 3002)
