"""A rule that no source feeds cannot fire, and that is known; what the kind of an event leaves open may be."""

from __future__ import annotations

import pytest

from muniment.detect.attack import tactics, technique
from muniment.detect.feeding import Sent, feeds_of
from muniment.detect.kinds import kind_of
from muniment.detect.logsources import kind_of_entry, taxonomy_of
from muniment.detect.rule import RuleSet
from muniment.detect.rules import load_rules
from muniment.sources.catalogue import load

BASE = """title: {title}
name: {title}
level: low
logsource: {{product: muniment{more}}}
detection:
  s: {selection}
  condition: {condition}
"""
SENT = [
    Sent("okta", "okta", "Authentication", "user.login", "failure", 3),
    Sent("shop", "json", "Entity Management", "item.delete", "success", 9),
]


def _feeds(*texts: str) -> dict[str, tuple[str, ...]]:
    loaded = load_rules((f"{n}.yml", text) for n, text in enumerate(texts))
    assert not loaded.refused
    rules = (*loaded.rules, *loaded.correlations)
    found = feeds_of(RuleSet(1, loaded.rules, loaded.correlations, rules, (), ()), {}, SENT, {})
    return {key: fed.sources for key, fed in found.items()}


@pytest.mark.parametrize(
    ("selection", "more", "condition", "sources"),
    [
        ("{class_name: Authentication}", "", "s", ("okta",)),
        ("{action|endswith: .delete}", "", "s", ("shop",)),
        ("{action: mail.forward}", "", "s", ()),
        ("{class_name: Authentication, outcome: success}", "", "s", ()),
        ("{src_ip: 192.0.2.1}", "", "s", ("okta", "shop")),
        ("{source: shop}", "", "not s", ("okta",)),
        ("{src_ip: 192.0.2.1}", ", service: okta", "s", ("okta",)),
        ("{src_ip: 192.0.2.1}", ", category: dns_activity", "s", ()),
    ],
)
def test_a_rule_is_fed_by_who_sends_what_it_could_be_about(
    selection: str, more: str, condition: str, sources: tuple[str, ...]
) -> None:
    assert _feeds(BASE.format(title="one", selection=selection, more=more, condition=condition)) == {"one": sources}


@pytest.mark.parametrize(("kind", "fed"), [("temporal_ordered", ()), ("event_count", ("okta",))])
def test_a_sequence_needs_all_its_parts_and_a_count_any(kind: str, fed: tuple[str, ...]) -> None:
    there = BASE.format(title="there", selection="{class_name: Authentication}", more="", condition="s")
    absent = BASE.format(title="absent", selection="{action: mail.forward}", more="", condition="s")
    condition = "" if kind == "temporal_ordered" else "  condition: {gte: 2}\n"
    both = (
        f"title: Both\nname: both\nlevel: high\ncorrelation:\n  type: {kind}\n  rules: [there, absent]\n"
        f"  group-by: [actor]\n  timespan: 5m\n{condition}"
    )
    assert _feeds(there, absent, both)["both"] == fed


def test_attack_names_techniques_and_orders_tactics() -> None:
    assert technique("T1110.003").name == "Brute Force: Password Spraying"
    assert technique("T1110.003").tactics == ("credential-access",)
    assert next(iter(tactics().values())) == "Reconnaissance"
    assert len(tactics()) == 14


FORMATS = {
    name: (kind_of_entry(entry.sigma), taxonomy_of(entry.sigma)) for name, entry in load().items() if entry.sigma
}
EVENTLOG = '{{"winlog":{{"channel":"{channel}","event_id":{id}}},"host":"dc1"}}'
SECURITY = EVENTLOG.format(channel="Security", id=4720)
CREATED = EVENTLOG.format(channel="Security", id=4688)
SCRIPT = EVENTLOG.format(channel="Microsoft-Windows-PowerShell/Operational", id=4104)
SYSMON = EVENTLOG.format(channel="Microsoft-Windows-Sysmon/Operational", id=1)
EXECVE = '{"message":"type=EXECVE msg=audit(1795674961.0:1): argc=1 a0=\\"id\\""}'
LOGIN = '{"message":"type=USER_LOGIN msg=audit(1795674961.0:1): res=success"}'


def _raw(logsource: str) -> RuleSet:
    text = BASE.replace("product: muniment{more}", logsource).format(
        title="one", selection="{action: b}", condition="s"
    )
    loaded = load_rules([("one.yml", text)])
    assert not loaded.refused
    return RuleSet(1, loaded.rules, (), loaded.rules, (), ())


def _fed(logsource: str, format: str, *records: tuple[str, str]) -> tuple[tuple[str, ...], str]:
    """What feeds a rule when one source sent these (action, record)."""
    sent = [Sent("dc1", format, "", action, "unknown", 1) for action, _ in records]
    kinds = {("dc1", format): [kind_of(*FORMATS[format], action, record) for action, record in records]}
    found = feeds_of(_raw(logsource), FORMATS, sent, kinds)["one"]
    return found.sources, found.missing


@pytest.mark.parametrize(
    ("logsource", "records", "is_fed"),
    [
        ("product: windows, service: powershell", [SECURITY], False),
        ("product: windows, service: powershell", [SECURITY, SCRIPT], True),
        ("product: windows, service: security", [SECURITY], True),
        ("product: windows, category: process_creation", [SECURITY], False),
        ("product: windows, category: process_creation", [CREATED], True),
        ("product: windows, category: process_creation", [SYSMON], True),
        ("product: windows, category: ps_script", [SYSMON, CREATED], False),
        ("product: windows", [SECURITY], True),
        ("category: process_creation", [SYSMON], True),
    ],
)
def test_a_windows_rule_is_fed_by_its_channel_and_not_by_its_product(
    logsource: str, records: list[str], is_fed: bool
) -> None:
    sources, missing = _fed(logsource, "windows", *(("x", record) for record in records))
    assert (sources, bool(missing)) == ((("dc1",), False) if is_fed else ((), True))


@pytest.mark.parametrize(
    ("logsource", "words"),
    [
        ("product: windows, service: powershell", "channel Microsoft-Windows-PowerShell/Operational or PowerShellCore/Operational; dc1 sent Windows events of security only"),
        ("product: windows, category: ps_script", "Microsoft-Windows-PowerShell/Operational (event 4104) or PowerShellCore/Operational (event 4104)"),
        ("product: windows, category: process_creation", "Security (event 4688)"),
        ("product: windows, category: no_such", "windows no_such, which is no log source that Windows events are known by"),
        ("product: qualys", "an entry of the catalogue that says it is qualys"),
        ("product: linux, category: process_creation", "events of linux process_creation, which come in the format auditd, laurel, sysmon_linux or tetragon"),
        ("product: muniment, service: okta", "events of the format okta"),
        ("product: muniment, category: account_change", "events of the class account change"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_by_name(logsource: str, words: str) -> None:
    sources, missing = _fed(logsource, "windows", ("x", SECURITY))
    assert sources == ()
    assert words in missing


def test_a_rule_about_linux_processes_is_fed_by_records_of_commands_only() -> None:
    rule = "product: linux, category: process_creation"
    sources, missing = _fed(rule, "auditd", ("user.login", LOGIN))
    assert (sources, missing) == (
        (), "events of linux process_creation, which come in the format auditd, laurel, sysmon_linux or tetragon; what dc1 sent was none",
    )  # fmt: skip
    assert _fed(rule, "auditd", ("process.start", EXECVE)) == (("dc1",), "")


@pytest.mark.parametrize(
    ("formats", "said"),
    [(["auditd"], "it can never match"), (["auditd", "sysmon_linux"], "records of sysmon_linux only"), (["sysmon_linux"], ""), ([], "")],
)  # fmt: skip
def test_a_field_is_absent_when_no_format_that_comes_in_can_hold_it(formats: list[str], said: str) -> None:
    text = BASE.replace("product: muniment{more}", "product: linux, category: process_creation").format(
        title="one", selection="{ParentImage: /java}", condition="s"
    )
    rule = load_rules([("one.yml", text)]).rules[0]
    sent = [Sent("dc1", name, "", "process.start", "unknown", 1) for name in formats]
    remark = feeds_of(RuleSet(1, (rule,), (), (rule,), (), ()), FORMATS, sent, {})["one"].remark
    assert remark.endswith(said)
    assert bool(remark) is bool(said)


def test_a_correlation_names_the_parts_that_nobody_feeds() -> None:
    there = BASE.format(title="there", selection="{class_name: Authentication}", more="", condition="s")
    absent = BASE.format(title="absent", selection="{action: mail.forward}", more="", condition="s")
    both = (
        "title: Both\nname: both\nlevel: high\ncorrelation:\n  type: temporal\n  rules: [there, absent]\n"
        "  group-by: [actor]\n  timespan: 5m\n"
    )
    loaded = load_rules((f"{n}.yml", text) for n, text in enumerate((there, absent, both)))
    rules = RuleSet(1, loaded.rules, loaded.correlations, (*loaded.rules, *loaded.correlations), (), ())
    assert feeds_of(rules, {}, SENT, {})["both"].missing == "what feeds absent"


@pytest.mark.parametrize("kind", ["event_count", "value_count", "value_sum", "value_avg", "value_median"])
def test_a_correlation_that_counts_needs_one_of_its_parts_only(kind: str) -> None:
    there = BASE.format(title="there", selection="{class_name: Authentication}", more="", condition="s")
    absent = BASE.format(title="absent", selection="{action: mail.forward}", more="", condition="s")
    field = "" if kind == "event_count" else "field: target_id, "
    many = (
        f"title: Many\nname: many\nlevel: high\ncorrelation:\n  type: {kind}\n  rules: [there, absent]\n"
        f"  group-by: [actor]\n  timespan: 5m\n  condition: {{{field}gte: 3}}\n"
    )
    loaded = load_rules((f"{n}.yml", text) for n, text in enumerate((there, absent, many)))
    rules = RuleSet(1, loaded.rules, loaded.correlations, (*loaded.rules, *loaded.correlations), (), ())
    assert feeds_of(rules, {}, SENT, {})["many"].sources
