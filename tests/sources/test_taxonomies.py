"""Rules in Sigma's own words find the samples of the catalogue, whatever form the vendor's record has."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from muniment.detect.batch import Row
from muniment.detect.evaluate import Ready
from muniment.detect.keyvalue import with_fields
from muniment.detect.logsources import kind_of_entry, taxonomy_of, windows_kind
from muniment.detect.rule import LogSource
from muniment.detect.rules import load_rules
from muniment.sources.catalogue import Catalogue, read_entry
from muniment.sources.testing import Recollection, map_records

CASES = [
    ("windows", "EVTX", "{product: windows, category: process_creation}", "Image|endswith: '\\cmd.exe'\n    CommandLine|contains: whoami"),
    ("windows", "Security 4688, flat", "{product: windows, category: process_creation}", "NewProcessName|endswith: bitsadmin.exe"),
    ("windows", "audit log cleared, winlogbeat", "{product: windows, service: security}", "EventID: 1102\n    Provider_Name: Microsoft-Windows-Eventlog"),
    ("windows", "group member added, winlogbeat", "{product: windows, service: security}", "EventID: 4728\n    TargetUserName: Domain Admins"),
    ("auditd", "a program runs", "{product: linux, service: auditd}", "type: EXECVE\n    a0: nc\n    a1: '-e'"),
    ("auditd", "a login fails", "{product: linux, service: auditd}", "type: USER_LOGIN\n    res: failed\n    acct: root"),
    ("web_access", "a scanner", "{category: webserver}", "cs-method: GET\n    cs-uri-query|contains: '.env'\n    sc-status: 404"),
    ("gcp", "a policy is set", "{product: gcp, service: gcp.audit}", "gcp.audit.method_name: SetIamPolicy"),
    ("azure_activity", "Key Vault Deleted", "{product: azure, service: activitylogs}", "operationName: MICROSOFT.KEYVAULT/VAULTS/DELETE"),
    ("entra_id", "a sign-in fails", "{product: azure, service: signinlogs}", "ResultType: 50126\n    Username: anna@example.com"),
    ("entra_id", "a sign-in, diagnostic", "{product: azure, service: signinlogs}", "ResultType: 0\n    Status: Success"),
    ("entra_id", "consent", "{product: azure, service: auditlogs}", "properties.message: Consent to application"),
    ("okta", "", "{product: okta, service: okta}", "eventtype|startswith: user."),
    ("aws_cloudtrail", "DeleteTrail", "{product: aws, service: cloudtrail}", "eventSource: cloudtrail.amazonaws.com\n    eventName: DeleteTrail"),
    ("github", "", "{product: github, service: audit}", "action|re: .+"),
    ("kubernetes", "", "{product: kubernetes, category: application, service: audit}", "verb|re: .+"),
    ("google_workspace", "whole, an administrator", "{product: gcp, service: google_workspace.admin}", "eventName: ASSIGN_ROLE"),
    ("m365", "a mailbox rule", "{product: m365, service: audit}", "Operation: New-InboxRule"),
    ("fortinet", "an administrator fails", "{product: fortigate, service: event}", "action: login\n    status: failed"),
    ("openssh", "", "{product: linux, service: sshd}", "keywords"),
    ("opencanary", "tries a password", "{product: opencanary, category: application}", "logtype: 4002"),
    ("zeek", "a request", "{product: zeek, service: http}", "host|endswith: .ru\n    uri|endswith: .exe\n    id.resp_p: 80"),
    ("zeek", "a ticket", "{product: zeek, service: kerberos}", "request_type: TGS\n    cipher: rc4-hmac"),
    ("atlassian", "Bitbucket", "{product: bitbucket, service: audit}", "auditType.category: Authentication\n    auditType.action: User login failed(SSH)"),
    ("sysmon_linux", "a program starts", "{product: linux, category: process_creation}", "Image|endswith: /curl\n    ParentImage|endswith: /bash\n    CommandLine|contains: http"),
    ("sysmon_linux", "a connection", "{product: linux, category: network_connection}", "DestinationHostname: pool.minexmr.com\n    Initiated: 'true'\n    DestinationPort: 4444"),
    ("sysmon_linux", "as JSON", "{product: linux, category: file_event}", "TargetFilename|startswith: /etc/cron.d/"),
    ("laurel", "a web server", "{product: linux, category: process_creation}", "Image|endswith: /whoami\n    ParentImage|endswith: /dash\n    CommandLine: whoami"),
    ("auditd", "a connection over IPv4", "{product: linux, category: network_connection}", "DestinationIp: 203.0.113.7"),
    ("macos_events", "a script runs", "{product: macos, category: process_creation}", "Image|endswith: /osascript\n    ParentImage|endswith: /zsh\n    CommandLine|contains: osascript -e"),
    ("macos_events", "a launch agent", "{product: macos, category: file_event}", "TargetFilename|contains: /LaunchAgents/"),
    ("osquery", "a program runs on a Mac", "{product: macos, category: process_creation}", "Image|endswith: /osascript\n    CommandLine|contains: display dialog"),
    ("osquery", "a file is made on a Mac", "{product: macos, category: file_event}", "TargetFilename|endswith: .plist"),
    ("rpc_firewall", "", "{product: rpc_firewall, category: application}", "EventLog: RPCFW\n    EventID: 3\n    OpNum: 3"),
    ("clamav", "", "{category: antivirus}", "Signature|contains: Webshell"),
    ("aws_elb", "an application", "{category: webserver}", "cs-method: GET\n    cs-uri-query|contains: admin\n    sc-status: 403"),
    ("aws_route53", "a question", "{category: dns}", "query|contains: example"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "sample", "logsource", "selection"), CASES, ids=lambda each: str(each)[:24])
def test_a_rule_in_sigmas_words_finds_the_sample(
    name: str, sample: str, logsource: str, selection: str, catalogue: Catalogue, client: Any
) -> None:
    entry = catalogue[name]
    detection = "selection: [sshd, password]" if selection == "keywords" else f"selection:\n    {selection}"
    text = f"title: T\nlogsource: {logsource}\ndetection:\n  {detection}\n  condition: selection\n"
    loaded = load_rules([("rule.yml", text)])
    assert not loaded.refused, loaded.refused
    formats = {
        each.name: (kind_of_entry(each.sigma), taxonomy_of(each.sigma)) for each in catalogue.values() if each.sigma
    }
    ready = Ready(loaded.rules, (), formats)
    assert name in ready.wanted.raw
    wanted = [each for each in entry.samples if sample in each.name]
    said = [Recollection(catalogue).of([*each.earlier, each.record])[-1] for each in wanted]
    columns = map_records(entry, [each.record for each in wanted], client, earlier=said)
    rows = [
        Row(n, 0, {**orjson.loads(orjson.dumps(c)), "source": "s", "format": name}, each.record.decode())
        for n, (each, c) in enumerate(zip(wanted, columns, strict=True))
    ]
    assert ready.matches(rows), [each.name for each in entry.samples]
    others = [Row(0, 0, {"format": "vault"}, "{}"), Row(0, 0, {"format": "muniment"}, rows[0].record)]
    assert not ready.matches(others)


def test_pairs_in_texts_are_fields_and_hexadecimal_is_read() -> None:
    text = 'type=EXECVE msg=audit(1:2): a0="nc" a1=2D6C2070 cmd=2F62696E2F7368 res=1 inode=12345678 msg=\'op=login acct="root"\''
    found = orjson.loads(with_fields(orjson.dumps({"message": text, "res": "kept"}), ("syslog.message", "message")))
    assert found["a1"] == "-l p"
    assert found["cmd"] == "/bin/sh"
    assert found["inode"] == "12345678"
    assert found["acct"] == "root"
    assert found["res"] == "kept"
    assert with_fields(b'{"other":1}', ("message",)) == b'{"other":1}'


def test_the_data_and_the_head_of_an_event_in_xml_are_fields() -> None:
    text = '<Event><System><EventID>1</EventID><Computer>web-1</Computer></System><EventData><Data Name="CommandLine">a &lt; b=c</Data></EventData></Event>'
    found = orjson.loads(with_fields(orjson.dumps({"message": text}), ("message",)))
    assert {name: found[name] for name in ("EventID", "Computer", "CommandLine")} == {
        "EventID": "1", "Computer": "web-1", "CommandLine": "a < b=c",
    }  # fmt: skip
    assert "b" not in found


@pytest.mark.parametrize("product", ["jvm", "spring", "django", "nodejs", "sql"])
def test_errors_of_applications_are_of_several_products(product: str, catalogue: Catalogue) -> None:
    kind = kind_of_entry(catalogue["app_error"].sigma)
    assert kind.has(LogSource("application", product, ""))
    assert not kind.has(LogSource("application", "opencanary", ""))


def test_findings_of_defender_are_those_of_an_antivirus() -> None:
    assert windows_kind("Microsoft-Windows-Windows Defender/Operational", "1116").has(LogSource("antivirus", "", ""))


@pytest.mark.parametrize(
    ("block", "words"),
    [("sigma: 3", "a mapping"), ("sigma: {prodct: x}", "prodct"), ("sigma: {fields: {a: $nothing}}", "a path or a \\$column"), ("sigma: {fields: [a]}", "a mapping of name")],
)  # fmt: skip
def test_a_mistake_in_the_block_is_named(block: str, words: str) -> None:
    text = f"name: x\ntitle: x\nvendor: x\ndocs: x\nowner: x\nrhythm_s: 1\ntime: t\n{block}\nsamples:\n  - {{origin: o, record: {{}}, expect: {{action: a}}}}\n"
    with pytest.raises(Exception, match=words):
        read_entry(text, "x.yaml")
