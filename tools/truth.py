"""Measures how far events are understood as labelled data says: `python tools/truth.py FOLDER`.

FOLDER holds the sets by name (see `SETS`); those that are not there are left out. Prints tables of agreement; `--wrong`
also prints what differs. Not part of CI: the data is kept outside the repository. `docs/truth.md` has the last figures,
and says why the rest does not agree.
"""

from __future__ import annotations

import argparse
import datetime as dt
import gzip
import ipaddress
import json
import lzma
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from muniment.envelope import opened
from muniment.sources.catalogue import Catalogue, load
from muniment.sources.testing import Recollection, local_client, map_records, recognise
from muniment.wire.syslog import syslog_record

RECEIVED = "2026-11-23T12:00:00Z"
_SUFFIX = b',"transport":"udp","peer":"192.0.2.1"}'
Row = dict[str, Any]


class Reader:
    """Records to the entries that read them and their columns."""

    def __init__(self, client: Any, catalogue: Catalogue) -> None:
        self._client = client
        self._catalogue = catalogue

    def read(self, records: Sequence[bytes]) -> list[tuple[str, Row]]:
        """In the order in which one sender would send them."""
        found: list[tuple[str, Row]] = []
        said = Recollection(self._catalogue).of(records)
        for start in range(0, len(records), 400):
            part = [opened(record)[0] for record in records[start : start + 400]]
            names = recognise(self._catalogue, part, self._client)
            columns: list[Row] = [{} for _ in part]
            for name in sorted(set(names)):
                places = [k for k, each in enumerate(names) if each == name]
                rows = map_records(
                    self._catalogue[name],
                    [part[k] for k in places],
                    self._client,
                    received_at=RECEIVED,
                    earlier=[said[start + k] for k in places],
                )
                for place, row in zip(places, rows, strict=True):
                    columns[place] = row
            found += zip(names, columns, strict=True)
        return found


def lines_of(path: Path) -> Iterator[Any]:
    opened = gzip.open if path.suffix == ".gz" else lzma.open
    with opened(path, "rt", encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                print(f"{path.name}: a line that is no JSON is left out", file=sys.stderr)


def framed(line: str) -> bytes:
    """The line as the syslog door takes it."""
    return syslog_record(line.encode(), _SUFFIX)[0]


def shipped(line: str) -> bytes:
    """The line as a file shipper sends it, or itself when it is a JSON object."""
    if line.lstrip().startswith("{"):
        try:
            json.loads(line)
        except ValueError:
            pass
        else:
            return line.encode()
    return json.dumps({"@timestamp": RECEIVED, "message": line}).encode()


class Table:
    """Counts of agreement by row and column."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.good: Counter[tuple[str, str]] = Counter()
        self.all: Counter[tuple[str, str]] = Counter()
        self.wrong: list[str] = []

    def add(self, row: str, column: str, is_good: bool, said: str = "") -> None:
        self.all[row, column] += 1
        self.good[row, column] += is_good
        if not is_good and said:
            self.wrong.append(f"{row} {column}: {said}")

    def show(self, *, is_wrong_shown: bool) -> None:
        columns = sorted({column for _, column in self.all})
        print(f"\n## {self.title}\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
        rows = sorted({row for row, _ in self.all})
        for row in [*(rows if len(rows) > 1 else []), "all"]:
            cells = []
            for column in columns:
                keys = [key for key in self.all if key[1] == column and row in (key[0], "all")]
                n, good = sum(self.all[key] for key in keys), sum(self.good[key] for key in keys)
                cells.append(f"{good}/{n}" if n else "")
            print(f"| {row} | {' | '.join(cells)} |")
        if is_wrong_shown:
            print("\n".join(f"- {line}" for line in self.wrong))


def same_address(wanted: str, found: object) -> bool:
    def plain(text: str) -> object:
        try:
            address = ipaddress.ip_address(text.strip("[]"))
        except ValueError:
            return text
        return getattr(address, "ipv4_mapped", None) or address

    return plain(wanted) == plain(str(found))


def in_network(address: str, network: str) -> bool:
    try:
        found = ipaddress.ip_network(network)
        return found.num_addresses > 1 and ipaddress.ip_address(address) in found
    except ValueError:
        return False


def same_time(wanted: str, found: object, *, has_year: bool) -> bool:
    try:
        a = dt.datetime.fromisoformat(wanted.replace("Z", "+00:00"))
        b = dt.datetime.fromisoformat(str(found).replace("Z", "+00:00"))
    except ValueError:
        return False
    a = a.replace(tzinfo=dt.UTC) if a.tzinfo is None else a.astimezone(dt.UTC)
    if not has_year:
        b = b.replace(year=a.year)
    return abs((a - b).total_seconds()) < 1


def crowdsec_lines(folder: Path, reader: Reader) -> Table:
    table = Table("CrowdSec parser cases: fields of a line")
    asked: list[tuple[str, str, str, Row]] = []
    records: list[bytes] = []
    for case in lines_of(folder / "parser_cases.jsonl.gz"):
        lines = [line for line in case["lines"] if line.strip()]
        for line, meta in zip(lines, case["line_meta"] or [{}] * len(lines), strict=False):
            for way, make in (("syslog", framed), ("shipped", shipped)):
                if case["log_type"] == "syslog" and way == "shipped":
                    continue
                asked.append((case["group"], way, line, meta or {}))
                records.append(make(line))
    for (group, way, line, meta), (entry, row) in zip(asked, reader.read(records), strict=True):
        table.add(group, f"{way}: recognised", entry not in ("json", "syslog", "text"), "")
        said = f"[{entry}] {line[:230]}"
        if "source_ip" in meta:
            table.add(
                group,
                f"{way}: source_ip",
                same_address(meta["source_ip"], row["src_ip"]),
                f"{meta['source_ip']} got {row['src_ip']} {said}",
            )
        user = meta.get("target_user") or meta.get("username") or meta.get("user")
        if user and user not in ("undefined", "-"):
            people = [row[name] for name in ("actor_name", "actor_id", "actor_email", "target_name", "target_id")]
            table.add(group, f"{way}: target_user", user in people, f"{user} got {people} {said}")
        if "timestamp" in meta:
            good = same_time(meta["timestamp"], row["time"], has_year=meta["timestamp"][:4] in line)
            table.add(group, f"{way}: timestamp", good, f"{meta['timestamp']} got {row['time']} {said}")
        kind = f"{meta.get('log_type', '')} {meta.get('sub_type', '')}".lower()
        if re.search(r"fail|bad_(user|password|mfa)|invalid|wrong_pass|enum", kind):
            good = row["class_name"] == "Authentication" and row["outcome"] == "failure"
            table.add(
                group,
                f"{way}: log_type",
                good,
                f"{kind} got {row['class_name']} {row['action']} {row['outcome']} {said}",
            )
        if meta.get("machine") and way == "syslog":
            table.add(
                group,
                f"{way}: machine",
                row["dst_host"] == meta["machine"],
                f"{meta['machine']} got {row['dst_host']} {said}",
            )
        if meta.get("http_status"):
            table.add(
                group,
                f"{way}: http",
                row["status_detail"] == meta["http_status"]
                and row["target_name"] == meta.get("http_path", row["target_name"]),
                f"{meta['http_status']} {meta.get('http_path')} got {row['status_detail']} {row['target_name']} {said}",
            )
    return table


def crowdsec_alerts(folder: Path, reader: Reader) -> Table:
    import orjson

    from muniment.detect.batch import Row as DetectRow
    from muniment.detect.evaluate import Ready, alerts_alone
    from muniment.detect.rules import load_rules

    table = Table("CrowdSec scenario cases: an alert about the same source address, or the network it is in")
    pack = Path(__file__).parent.parent / "src/muniment/detect/pack"
    texts = {path.name: path.read_text("utf-8") for path in sorted(pack.glob("*.yml")) if ".events." not in path.name}
    for case in lines_of(folder / "scenario_cases.jsonl.gz"):
        if "impossible-travel" in case["case"]:
            continue
        lines = [line for line in case["lines"] if line.strip()]
        is_syslog = any(re.match(r"(?:<\d+>|[A-Z][a-z]{2} [ \d]\d \d\d:)", line) for line in lines)
        rows = reader.read([(framed if is_syslog else shipped)(line) for line in lines])
        ready = Ready(*load_ready(load_rules, texts), {})
        fed = []
        for index, (entry, row) in enumerate(rows):
            moment = dt.datetime.fromisoformat(str(row["time"]).replace("Z", "+00:00"))
            actor = row["actor_id"] or row["actor_name"] or row["actor_email"]
            shown = {name: value for name, value in row.items() if name != "time"}
            shown |= {"actor": actor, "format": entry, "source": "truth"}
            fed.append(DetectRow(index, int(moment.timestamp() * 1e6), orjson.loads(orjson.dumps(shown)), "{}"))
        found: set[str] = set()
        for each in sorted(fed, key=lambda one: one.time_us):
            for _, rule in ready.matches([each]):
                if alerts_alone(rule):
                    said = rows[each.index][1]
                    found |= {str(said[name]) for name in ("src_ip", "dst_host", "target_name") if said[name]} | {
                        rule.title
                    }
                for firing in ready.fed(each, rule):
                    found |= {value for _, value in firing.group}
        wanted = (
            {source for alert in case["alerts"] for source in alert.get("sources", ())} if case["alerts"] else set()
        )
        kind = kind_of(case)
        for source in sorted(wanted):
            # Their host rules group by process, ours by account and host: that there is an alert is what can be compared.
            good = (
                bool(found)
                if kind == "host"
                else any(source in each or same_address(source, each) or in_network(source, each) for each in found)
            )
            table.add(
                kind,
                "alert",
                good,
                f"{case['case']} {source} found {sorted(found)[:3]} {[(r[0], r[1]['class_name'], r[1]['outcome'], r[1]['src_ip']) for r in rows[:2]]} {lines[0][:150]}",
            )
        if not wanted:
            table.add(kind, "no alert", not found, f"{case['case']} found {sorted(found)[:3]}")
    return table


def load_ready(load_rules: Any, texts: dict[str, str]) -> tuple[Any, Any]:
    loaded = load_rules(texts.items())
    return loaded.rules, loaded.correlations


def kind_of(case: Row) -> str:
    names = " ".join(str(alert.get("scenario", "")) for alert in case["alerts"]).strip() or case["case"]
    kinds = {
        r"aws|cloudtrail": "cloud", r"slow": "slow brute force", r"enum": "user enumeration",
        r"bf|bruteforce|spam": "brute force", r"scan": "port scan", r"user-agent": "scanner",
        r"crawl": "crawl", r"http|cve|probing|sap": "http probing", r"modsec": "web firewall", r"auditd|laurel": "host",
    }  # fmt: skip
    return next((kind for pattern, kind in kinds.items() if re.search(pattern, names)), "other")


def sc4s(folder: Path, reader: Reader) -> Table:
    table = Table("SC4S: vendor syslog")
    moment = dt.datetime(2026, 11, 23, 11, 59, 30, tzinfo=dt.UTC)
    values = {
        "mark": "<134>", "bsd": moment.strftime("%b %d %H:%M:%S"), "iso": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "host": "host-a.example", "epoch": str(int(moment.timestamp())), "date": moment.strftime("%Y-%m-%d"),
        "time": moment.strftime("%H:%M:%S"), "tzoffset": "+0000", "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }  # fmt: skip
    asked, records = [], []
    for case in lines_of(folder / "cases.jsonl.gz"):
        for template in case["templates"]:
            if isinstance(template, dict) and "$expr" in template:
                found = re.fullmatch(r"'(.*)'(?: \+ '\\n')?", template["$expr"], re.DOTALL)
                if not found or "{{" not in found[1]:
                    continue
                template = re.sub(r"' \+\s*'", "", found[1])
            if not isinstance(template, str):
                continue
            mark = re.search(r"'mark': \"'(<\d+>\d?)'", str(case["render_vars"]))
            have = values | ({"mark": mark[1]} if mark else {})
            text = re.sub(r"\{\{ ?(\w+) ?\}\}", lambda m, have=have: have.get(m[1], m[0]), template)  # type: ignore[misc]
            if "{{" in text:
                continue
            asked.append((case["vendor"], case["expect"][0] if case["expect"] else {}, text))
            records.append(framed(text.rstrip("\n")))
    for (vendor, expect, text), record, (entry, row) in zip(asked, records, reader.read(records), strict=True):
        said = f"[{entry}] {text[:200]!r}"
        table.add(vendor, "not quarantined", not record.startswith(b'{"$quarantine"'), said)
        table.add(vendor, "product recognised", entry not in ("syslog", "json", "text"), said)
        if re.search(r"\{\{ ?(?:bsd|iso|epoch|timestamp) ?\}\}", expect.get("search", "")):
            table.add(vendor, "time", same_time(values["iso"], row["time"], has_year=True), f"got {row['time']} {said}")
        if "host-a.example" in text and "{{" in str(expect.get("host", "")):
            table.add(
                vendor,
                "host",
                row["dst_host"] in ("host-a.example", "host-a.example-lm"),
                f"got {row['dst_host']} {said}",
            )
    return table


def windows(folder: Path, reader: Reader) -> Table:
    table = Table("OTRF: Windows and other host events")
    for path in sorted((folder / "datasets").glob("*.jsonl.xz")):
        events = list(lines_of(path))
        for event, (entry, row) in zip(
            events, reader.read([json.dumps(event).encode() for event in events]), strict=True
        ):
            system = "EventID" in event or "winlog" in event or "event_id" in event
            group = "windows" if system else "other"
            data = event.get("winlog", {}).get("event_data", event) if isinstance(event.get("winlog"), dict) else event
            code = str(event.get("EventID") or event.get("event_id") or event.get("winlog", {}).get("event_id", ""))
            said = f"{path.name} [{entry}] {code} {json.dumps(event)[:200]}"
            table.add(group, "recognised", entry == "windows" if system else entry not in ("json", "text"), said)
            if not system:
                continue
            table.add(
                group, "class", row["class_uid"] != 0, f"{code} {event.get('Channel') or event.get('log_name', '')}"
            )
            user = data.get("SubjectUserName") or data.get("TargetUserName")
            if user and user != "-":
                people = {str(row[name]) for name in ("actor_name", "actor_id", "target_name", "target_id")}
                names = {
                    str(data.get(name))
                    for name in ("SubjectUserName", "TargetUserName", "SubjectUserSid", "TargetUserSid")
                }
                table.add(group, "actor", bool(names & people), f"{code} {names} got {people}")
            address = str(data.get("IpAddress") or data.get("SourceAddress") or "-")
            if address not in ("-", "LOCAL") and re.match(r"[0-9a-fA-F:.]+$", address):
                table.add(
                    group, "address", same_address(address, row["src_ip"]), f"{code} {address} got {row['src_ip']}"
                )
            words = event.get("Keywords") or event.get("keywords")
            if (
                words in (-9214364837600034816, -9218868437227405312)
                and str(event.get("Channel", "")).lower() == "security"
            ):
                wanted = "success" if words == -9214364837600034816 else "failure"
                table.add(group, "outcome", row["outcome"] == wanted, f"{code} {wanted} got {row['outcome']}")
    return table


_EVENT_TYPES = {
    "failed_login": ("Authentication", "failure"), "successful_login": ("Authentication", "success"),
    "logout": ("Authentication", ""), "user_account_created": ("Account Change", ""),
    "user_account_deleted": ("Account Change", ""), "user_account_modified": ("Account Change", ""),
    "mfa_disabled": ("Account Change", ""), "mfa_reset": ("Account Change", ""), "mfa_enabled": ("Account Change", ""),
}  # fmt: skip


def panther(folder: Path, reader: Reader) -> Table:
    table = Table("Panther rule tests: the typed columns of a vendor's event")
    cases = list(lines_of(folder / "cases.jsonl.gz"))
    records = [json.dumps(case["event"]).encode() for case in cases]
    for case, (entry, row) in zip(cases, reader.read(records), strict=True):
        kind, udm = case["log_type"], case["udm"] or {}
        said = f"[{entry}] {case['case']} {json.dumps(case['event'])[:300]}"
        table.add(kind, "recognised", entry not in ("json", "text", "syslog"), said)
        table.add(kind, "class", row["class_uid"] != 0, f"{row['action']} {said}")
        people = {str(row[name]).lower() for name in ("actor_name", "actor_id", "actor_email")}
        if udm.get("actor_user"):
            table.add(
                kind, "actor", str(udm["actor_user"]).lower() in people, f"{udm['actor_user']} got {people} {said}"
            )
        if udm.get("source_ip"):
            table.add(
                kind,
                "address",
                same_address(udm["source_ip"], row["src_ip"]),
                f"{udm['source_ip']} got {row['src_ip']} {said}",
            )
        if udm.get("user_agent"):
            table.add(
                kind,
                "agent",
                udm["user_agent"] == row["user_agent"],
                f"{udm['user_agent']} got {row['user_agent']} {said}",
            )
        if udm.get("user"):
            have = people | {str(row[name]).lower() for name in ("target_id", "target_name")}
            table.add(kind, "user", str(udm["user"]).lower() in have, f"{udm['user']} got {have} {said}")
        wanted = _EVENT_TYPES.get(udm.get("event_type", ""))
        if wanted:
            good = row["class_name"] == wanted[0] and wanted[1] in ("", row["outcome"])
            table.add(
                kind,
                "type",
                good,
                f"{udm['event_type']} got {row['class_name']} {row['action']} {row['outcome']} {said}",
            )
    return table


def stratus(folder: Path, reader: Reader) -> Table:
    table = Table("Stratus Red Team: CloudTrail of attacks")
    for case in lines_of(folder / "techniques.jsonl.gz"):
        events = case["events"]
        for event, (entry, row) in zip(
            events, reader.read([json.dumps(each).encode() for each in events]), strict=True
        ):
            said = f"[{entry}] {case['technique']} {json.dumps(event)[:300]}"
            table.add("events", "recognised", entry == "aws_cloudtrail", said)
            table.add("events", "class", row["class_uid"] != 0, f"{row['action']} {said}")
            who = event.get("userIdentity", {})
            if who.get("arn"):
                have = {str(row[name]) for name in ("actor_id", "actor_name", "actor_email")}
                wanted = {str(who.get(name)) for name in ("arn", "principalId", "userName", "accountId")}
                table.add("events", "actor", bool(have & wanted), f"{wanted} got {have} {said}")
            table.add("events", "outcome", row["outcome"] == ("failure" if event.get("errorCode") else "success"), said)
    return table


_AUDIT_KINDS = {
    r"unmount": "Unmount", r"mount": "Mount", r"delet.*user|removed-user": "Account Change", r"delet.*group": "Group Management",
    r"added-user|modified-user|password|lock": "Account Change", r"group": "Group Management",
    r"role|privilege": "User Access Management", r"delet|remov": "Delete", r"renam": "Rename", r"link|make-device|creat": "Create",
    r"permission|ownership|attribute|timestamp": "Set", r"opened|read": "Open", r"connected-to|accepted-connection": "Network Activity",
    r"bound|listen|sent-to|received": "Network Activity", r"execut|ran-command|killed|crashed|traced|loaded-program": "Process Activity",
    r"logged-in|logged-out|session|authent|authoriz|login-id|acquired|disposed|refreshed|crypto": "Authentication",
    r"service|boot|shutdown|runlevel|virtual|vm": "Application Lifecycle", r"polic": "Detection Finding|Entity Management",
    r"time|config|promiscuous|module|firewall|feature|audit": "Entity Management|Event Log Activity",
}  # fmt: skip
"""Words of the labels, the first that is there, and the class or activity that says the same."""


def auditd(folder: Path, reader: Reader) -> Table:
    """Each answer anywhere in the event's rows, and all that were asked in one of them."""
    table = Table("go-libaudit: Linux audit events of several records")
    cases = [case for case in lines_of(folder / "coalesce.jsonl.gz") if case["lines"]]
    for way, make in (("syslog", framed), ("shipped", shipped)):
        records = [make(line) for case in cases for line in case["lines"]]
        rows = iter(reader.read(records))
        for case in cases:
            found = [next(rows) for _ in case["lines"]]
            answers = audit_answers(case["expected"])
            said = f"{way} {case['case']} {case['expected']['summary']}"
            table.add(way, "recognised", all(entry == "auditd" for entry, _ in found), said)
            for name, holds in answers.items():
                good = any(holds(row) for _, row in found)
                table.add(way, name, good, f"{said} got {[short(row, name) for _, row in found]}")
            good = any(all(holds(row) for holds in answers.values()) for _, row in found)
            table.add(way, "all in one row", good, said)
    return table


def audit_answers(label: Row) -> dict[str, Callable[[Row], bool]]:
    """What a label says, as tests of a row; what it leaves open is not asked."""
    actor, thing = label["summary"]["actor"], label["summary"].get("object", {})
    answers: dict[str, Callable[[Row], bool]] = {}
    who = [actor[name] for name in ("primary", "secondary") if actor.get(name, "unset") != "unset"][:1]
    if who:
        answers["actor"] = lambda row: who[0] in (row["actor_id"], row["actor_name"])
    if thing.get("primary"):
        wanted = thing["primary"]
        answers["object"] = lambda row: wanted in (row["target_name"], row["target_id"])
    kind = next(
        (kind for words, kind in _AUDIT_KINDS.items() if re.search(words, label["summary"].get("action", ""))), ""
    )
    if kind:
        answers["kind"] = lambda row: re.search(kind, f"{row['class_name']} {row['activity_name']}") is not None
    result = {"success": "success", "fail": "failure", "unknown": "unknown"}[label["result"]]
    answers["result"] = lambda row: row["outcome"] == result
    session = "" if label.get("session", "unset") == "unset" else label["session"]
    answers["session"] = lambda row: row["session_id"] == session
    return answers


def short(row: Row, answer: str) -> list[Any]:
    names = {"actor": ("actor_id", "actor_name"), "object": ("target_id", "target_name"), "kind": ("action", "class_name"),
             "result": ("outcome",), "session": ("session_id",)}  # fmt: skip
    return [row[name] for name in names[answer]]


SETS = {
    "panther-rule-tests": (panther,),
    "stratus-cloudtrail": (stratus,),
    "crowdsec-hub-tests": (crowdsec_lines, crowdsec_alerts),
    "sc4s-syslog-samples": (sc4s,),
    "otrf-security-datasets": (windows,),
    "linux-auditd-golden": (auditd,),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="a part of a measure's name, such as crowdsec")
    parser.add_argument("--wrong", action="store_true", help="print what differs")
    options = parser.parse_args()
    wanted = [
        (options.folder / name, measure)
        for name, measures in SETS.items()
        for measure in measures
        if (options.folder / name).is_dir() and options.only in measure.__name__
    ]
    if not wanted:
        names = ", ".join(measure.__name__ for measures in SETS.values() for measure in measures)
        parser.error(f"nothing to measure; measures are {names}, and each needs its set in the folder")
    with local_client() as client:
        reader = Reader(client, load())
        for folder, measure in wanted:
            measure(folder, reader).show(is_wrong_shown=options.wrong)


if __name__ == "__main__":
    main()
