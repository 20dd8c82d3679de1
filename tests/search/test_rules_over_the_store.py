"""Rules read events from a real store as columns; what they see is what the store holds."""

from __future__ import annotations

import json
from typing import Any, cast

from memory_ledger import MAPPINGS, START_NS, MemoryLedger, record

from muniment.detect.alerts import SOURCE
from muniment.detect.batch import Batch
from muniment.detect.correlation import Firing
from muniment.detect.correlators import Part
from muniment.detect.evaluate import Ready
from muniment.detect.feeding import Feeding
from muniment.detect.logsources import PLAIN, Kind, kind_of_entry, taxonomy_of
from muniment.detect.rule import RuleSet
from muniment.detect.rules import load_rules
from muniment.limits import FEEDING_LOOKED_AT
from muniment.search.engine import Engine
from muniment.search.mappings import mapping_set
from muniment.search.projector import Projector
from muniment.sources.catalogue import AUTO, load

_RULES = """
title: Who
name: who
logsource: {product: muniment}
detection:
  a: {action: 'user.delete', actor|contains: 'a/"nn'}
  condition: a
---
title: What the record says
name: deep
logsource: {product: muniment}
detection:
  a: {action|endswith: .delete, record.metadata.why: because}
  condition: a
---
title: Both
name: together
correlation: {type: event_count, rules: [deep], group-by: [record.metadata.team], timespan: 1h, condition: {gte: 2}}
"""


def _read(ready: Ready, engine: Engine, *, is_lazy: bool = True) -> Batch:
    """All events, as they are read when they have just come in, or with every record."""
    if is_lazy:
        return ready.wanted.read_new(engine, 0, 2**40, SOURCE)
    return ready.wanted.read(engine, "`index` >= {a:UInt64}", {"a": 0})


def test_columns_shapes_and_lazily_read_records(engine: Engine) -> None:
    ledger = MemoryLedger()
    projector = Projector(engine, ledger, None, MAPPINGS)
    why = {"why": "because", "team": "red"}
    ledger.append(
        [
            record(action="user.delete", actor_id='A/"nna', message="1"),
            record(action="user.login", actor_id='a/"nna', message="2"),
            record(action="user.delete", actor_id="bert", metadata=why, message="3"),
            record(action="user.delete", actor_id="bert", metadata={"why": "else"}, message="4"),
            record(action="file.delete", actor_id="bert", metadata=why, message="5"),
        ]
    )
    projector.recover()
    loaded = load_rules([("rules.yml", _RULES)])
    assert not loaded.refused
    found = {}
    for is_lazy in (True, False):
        ready = Ready(loaded.rules, loaded.correlations, {})
        rows = _read(ready, engine, is_lazy=is_lazy)
        matches = ready.matches(rows, engine)
        found[is_lazy] = [(row.index, rule.name) for row, rule in matches]
        fired = [firing for row, rule in matches for firing in ready.fed(row, rule)]
        assert [(firing.group, firing.indexes) for firing in fired] == [((("record.metadata.team", "red"),), (2, 4))]

    assert found[True] == found[False] == [(0, "who"), (2, "deep"), (4, "deep")]
    assert ready.wanted.read(engine, "`index` > {a:UInt64}", {"a": 99}).newest_us == 0


_CORRELATED = """
title: Failed
name: failed
logsource: {product: muniment}
detection:
  a: {action: user.login, outcome: failure}
  condition: a
---
title: Login
name: login
logsource: {product: muniment}
detection:
  a: {action: user.login, outcome: success}
  condition: a
---
title: Deep
name: said
logsource: {product: muniment}
detection:
  a: {record.metadata.why: because}
  condition: a
---
title: What the app says
name: raw
logsource: {product: app}
detection:
  a: {action: a.b}
  condition: a
---
title: Said addresses
name: addresses
correlation: {type: event_count, rules: [raw], group-by: [src_ip], timespan: 1h, condition: {gte: 2}}
---
title: Guessing
name: guessing
correlation: {type: event_count, rules: [failed], group-by: [src_ip], timespan: 1h, condition: {gte: 3}}
---
title: Guessed
name: guessed
correlation: {type: temporal_ordered, rules: [guessing, login], group-by: [src_ip], timespan: 1h}
---
title: Devices
name: devices
correlation: {type: value_count, rules: [login], group-by: [actor], timespan: 1h, condition: {gte: 2, field: device}}
---
title: Teams
name: teams
correlation: {type: event_count, rules: [said], group-by: [record.metadata.team], timespan: 1h, condition: {gte: 2}}
---
title: Codes
name: codes
correlation: {type: event_count, rules: [login], group-by: [class_uid], timespan: 1h, condition: {gte: 3}}
"""


def test_correlations_fed_by_columns_fire_as_those_fed_one_by_one(engine: Engine) -> None:
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
    events = [
        record(action="user.login", outcome="failure", actor_id="anna", ip="203.0.113.7", message=f"{n}")
        for n in range(4)
    ]
    events += [
        record(action="user.login", outcome="failure", actor_id="anna", message="no address"),
        record(
            action="user.login",
            outcome="success",
            **{"class": "3002"},
            actor_id="anna",
            ip="203.0.113.7",
            user_agent="curl/8.5.0",
            message="in",
        ),
        record(
            action="user.login",
            outcome="success",
            actor_id="anna",
            ip="2001:db8::7",
            user_agent=firefox,
            message="also",
        ),
        record(
            action="user.login",
            outcome="success",
            **{"class": "3002"},
            actor_id="bert",
            user_agent=firefox,
            message="1",
        ),
        record(
            action="user.login",
            outcome="success",
            **{"class": "3002"},
            actor_id="bert",
            user_agent=firefox + " ",
            message="2",
        ),
        record(action="a.b", metadata={"why": "because", "team": "red"}, src_ip="said", ip="192.0.2.1", message="3"),
        record(action="a.b", metadata={"why": "because", "team": "red"}, src_ip="said", ip="192.0.2.2", message="4"),
    ]
    ledger = MemoryLedger()
    projector = Projector(engine, ledger, None, MAPPINGS)
    ledger.append(events)
    projector.recover()
    loaded = load_rules([("rules.yml", _CORRELATED)])
    assert not loaded.refused
    formats = {"flat": (Kind("app"), PLAIN)}
    one, whole = (Ready(loaded.rules, loaded.correlations, formats) for _ in range(2))
    rows = _read(one, engine)
    expected = [firing for row, rule in one.matches(rows, engine) for firing in one.fed(row, rule)]
    rows = _read(whole, engine)
    found = whole.fed_all(Part(rows, rule, places) for rule, places in whole.found(rows, engine))

    def said(firing: Firing) -> tuple[object, ...]:
        return firing.indexes, firing.correlation.name, firing.group, firing.is_more

    assert sorted(map(said, found)) == sorted(map(said, expected))
    assert {firing.correlation.name: firing.group[0][1] for firing in found if not firing.is_more} == {
        "guessed": "203.0.113.7",
        "devices": "anna",
        "teams": "red",
        "codes": "3002",
        "addresses": "said",
    }


_LINUX = """
title: Netcat with a shell
name: netcat
logsource: {product: linux, category: process_creation}
detection:
  a: {Image|endswith: /nc, CommandLine|contains|all: [' -e ', /bin/sh]}
  b: {CommandLine|contains: harmless}
  condition: a and not b
---
title: A job of cron
name: cron
logsource: {product: linux, category: file_event}
detection:
  a: {TargetFilename|startswith: /etc/cron.d/}
  condition: a
---
title: As auditd calls it
name: own
logsource: {product: linux, service: auditd}
detection:
  a: {type: EXECVE, a1: '-e'}
  condition: a
"""


def test_rules_about_linux_processes_and_files_meet_the_records_of_auditd_that_say_so(engine: Engine) -> None:
    call = 'arch=c000003e syscall={n} success=yes exit=0 items=2 ppid=1 pid=2 auid=1000 uid=0 comm="x" exe="{exe}"'
    lines = [
        f"type=SYSCALL msg=audit(1795424500.001:1): {call.format(n=59, exe='/usr/bin/nc')}",
        'type=EXECVE msg=audit(1795424500.001:1): argc=3 a0="nc" a1="-e" a2="/bin/sh"',
        'type=PATH msg=audit(1795424500.001:1): item=0 name="/usr/bin/nc" inode=1 nametype=NORMAL',
        f"type=SYSCALL msg=audit(1795424500.002:2): {call.format(n=257, exe='/usr/bin/vim')}",
        'type=PATH msg=audit(1795424500.002:2): item=0 name="/etc/cron.d/" inode=2 nametype=PARENT',
        'type=PATH msg=audit(1795424500.002:2): item=1 name="/etc/cron.d/job" inode=3 nametype=CREATE',
    ]
    ledger, catalogue = MemoryLedger(), load()
    projector = Projector(engine, ledger, None, mapping_set(catalogue), lambda source: AUTO)
    ledger.append([record(message=line) for line in lines])
    projector.recover()
    entry = catalogue["auditd"]
    ready = Ready(
        load_rules([("rules.yml", _LINUX)]).rules,
        (),
        {"auditd": (kind_of_entry(entry.sigma), taxonomy_of(entry.sigma))},
    )
    rows = _read(ready, engine)
    assert [(row.index, rule.name) for row, rule in ready.matches(rows, engine)] == [
        (1, "netcat"),
        (1, "own"),
        (5, "cron"),
    ]


_CLOUD = """
title: A user is made
name: made
logsource: {product: aws, service: cloudtrail}
detection:
  a: {eventName: CreateUser, userIdentity.userName|contains: ann}
  condition: a
---
title: A field of the record
name: deep
logsource: {product: muniment}
detection:
  a: {action: user.create, record.requestParameters.userName: bob}
  condition: a
"""


def test_rules_see_what_an_envelope_carries(engine: Engine) -> None:
    event = {
        "eventVersion": "1.08", "eventSource": "iam.amazonaws.com", "eventName": "CreateUser", "awsRegion": "eu-1",
        "userIdentity": {"type": "IAMUser", "userName": "anna"}, "requestParameters": {"userName": "bob"},
        "eventTime": "2026-09-21T10:00:00Z", "sourceIPAddress": "203.0.113.7", "eventID": "e", "requestID": "r",
    }  # fmt: skip
    ledger, catalogue = MemoryLedger(), load()
    projector = Projector(engine, ledger, None, mapping_set(catalogue), lambda source: AUTO)
    ledger.append(
        [
            record(syslog={"hostname": "h", "app": "p", "message": json.dumps(event)}),
            record(event=event, sourcetype="aws"),
            record(log=json.dumps(event | {"userIdentity": {"userName": "eve"}}), stream="stdout"),
        ]
    )
    projector.recover()
    entry = catalogue["aws_cloudtrail"]
    formats = {entry.name: (kind_of_entry(entry.sigma), taxonomy_of(entry.sigma))}
    ready = Ready(load_rules([("rules.yml", _CLOUD)]).rules, (), formats)
    for is_lazy in (True, False):
        rows = _read(ready, engine, is_lazy=is_lazy)
        found = [(row.index, rule.name) for row, rule in ready.matches(rows, engine)]
        assert sorted(found) == [(0, "deep"), (0, "made"), (1, "deep"), (1, "made"), (2, "deep")]


def test_what_feeds_a_windows_rule_is_read_from_the_newest_records_once(engine: Engine) -> None:
    """One start of PowerShell behind hundreds of logins: its channel is found, no other is, and no record is read twice."""

    def event(channel: str, id: int) -> bytes:
        log = {"channel": channel, "event_id": id, "provider_name": channel.partition("/")[0]}
        return record(winlog=log, host={"name": "dc1"})

    ledger, catalogue = MemoryLedger(), load()
    projector = Projector(engine, ledger, None, mapping_set(catalogue), lambda source: AUTO)
    script = event("Microsoft-Windows-PowerShell/Operational", 4104)
    ledger.append([script, *(event("Security", 4624) for _ in range(300))])
    projector.recover()
    formats = {
        name: (kind_of_entry(entry.sigma), taxonomy_of(entry.sigma)) for name, entry in catalogue.items() if entry.sigma
    }
    sources = ["service: powershell", "service: security", "category: process_creation", "service: system"]
    texts = [
        f"title: t\nname: r{n}\nlogsource: {{product: windows, {each}}}\ndetection: {{s: {{a: b}}, condition: s}}\n"
        for n, each in enumerate(sources)
    ]
    rules = load_rules([(f"{n}.yml", text) for n, text in enumerate(texts)]).rules
    asked: list[list[int]] = []

    class Watching:
        def query(self, sql: str, parameters: dict[str, Any] | None = None) -> Any:
            if parameters and "wanted" in parameters:
                asked.append(parameters["wanted"])
            return engine.query(sql, parameters)

    feeding = Feeding(cast("Engine", Watching()), formats)
    now_us = START_NS // 1_000 + 1_000_000
    for _ in range(2):
        found = feeding.of(RuleSet(1, rules, (), rules, (), ()), now_us)
        assert [found[rule.key].sources for rule in rules] == [("app",), ("app",), (), ()]
        feeding._next = 0.0
    assert asked == [[0, *range(301 - FEEDING_LOOKED_AT, 301)]]
