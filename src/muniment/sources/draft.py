"""A catalogue entry drafted from samples: what a person would write first, for a person to correct. Pure.

Every path of the samples is looked at: is it there in all of them (then it recognises), does it hold times, addresses,
e-mail addresses, and is its name one that the trade uses for a column? Nothing is guessed from a value that is not of
the kind. The draft loads, its samples say what each becomes once `muniment sources test` has shown it.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from muniment.errors import RejectedError

__all__ = ["draft", "masked"]

_NAMES: Final[Mapping[str, str]] = {
    "action": "action|event|event_?type|event_?name|operation|operation_?name|activity|verb|method|type|name|message_?type",
    "outcome": "outcome|outcome\\.result|result|status|success|response_?status|decision|verdict|effect|disposition",
    "severity_id": "(?:.*\\.)?(?:severity|level|priority|log_?level)",
    "status_detail": "reason|error|error_?message|error_?code|outcome\\.reason|failure_?reason",
    "message": "message|description|msg|summary|display_?message",
    "actor_id": "(?:actor|user|principal|initiator|subject|account|identity|caller|operator|employee|member|staff|author|sender|requester|performer|agent)\\.(?:id|uuid|uid|sub)|user_?id|actor_?id|uid|sub|caller|username|user|login",
    "actor_name": "(?:actor|user|principal|initiator|account|identity|operator|employee|member|staff|author|sender|requester|performer|agent)\\.(?:name|display_?name|login|username)|user_?name|username|login|display_?name|actor_?name",
    "actor_email": "(?:actor|user|principal|initiator|account|operator|employee|member|staff|author|sender|requester|performer|agent)\\.(?:email|mail|upn|alternate_?id|email_?address)|email|user_?email|mail|upn",
    "session_id": "(?:.*\\.)?session_?(?:id|uuid)?",
    "src_ip": "(?:.*\\.)?(?:src_?ip|source_?ip(?:_?address)?|client_?ip(?:_?address)?|ip_?address|remote_?(?:ip|addr(?:ess)?)|ip|caller_?ip(?:_?address)?)",
    "user_agent": "(?:.*\\.)?(?:user_?agent|ua|agent|client)",
    "dst_host": "(?:.*\\.)?(?:host|hostname|host_?name|server|node|computer)",
    "app": "(?:.*\\.)?(?:app|application|service|product|app_?name|application_?name)",
    "target_type": "(?:target|resource|object|entity)\\.(?:type|kind)|(?:target|resource|object|entity)_?type",
    "target_id": "(?:target|resource|object|entity)\\.(?:id|uuid|uid)|(?:target|resource|object|entity)_?id",
    "target_name": "(?:target|resource|object|entity)\\.(?:name|title|display_?name)|(?:target|resource|object|entity)(?:_?name)?",
    "request_id": "(?:.*\\.)?(?:request_?id|correlation_?id|event_?id|trace_?id)|uuid|id",
    "changes_before": "(?:.*\\.)?(?:before|old|old_?value|previous)",
    "changes_after": "(?:.*\\.)?(?:after|new|new_?value|changes|details|parameters)",
}  # fmt: skip
_ACTIONS: Final = re.compile(r"(?:.*[._a-z])?(?:event|action|operation|activity)(?:_?(?:name|type|kind))?", re.I)
_NOBODY: Final = re.compile(
    r"(?:.*\.)?(?:target|resource|object|entity|item|device|host|app|service|client|org.*|tenant|project|group|role|file)",
    re.I,
)
_WHOSE: Final = {"actor_id": ("id", "uid", "uuid"), "actor_name": ("name", "login"), "actor_email": ("email", "mail")}
_TIME_NAMES: Final = re.compile(
    r"(?:.*\.)?(?:time|timestamp|@timestamp|date|created(?:_?at)?|occurred_?at|published|event_?time|datetime|ts)", re.I
)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d|1[0-9]{9}(?:\d{3}|\.\d+)?$")
_KINDS: Final = re.compile(r"type|kind|verb|category|level|severity|outcome|result|status", re.I)
_WORDS: Final = re.compile(r"[A-Za-z][A-Za-z_.:/ -]{0,63}")
_TOKEN: Final = re.compile(r"[^\s=:;,\"'<>()\[\]{}]+")
_TOLD: Final = re.compile(
    r"failed|failure|denied|rejected|refused|forbidden|invalid|accepted|succeeded|success(?:ful)?|granted|allowed|blocked|"
    r"user(?:name)?|account|acct|login|from|for|by|ok|error|yes|no|true|false|info(?:rmational)?|notice|warn(?:ing)?|debug|critical",
    re.I,
)
_CAMEL: Final = re.compile(r"[A-Za-z]+[a-z][A-Z][A-Za-z]*")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+\.[a-z]{2,}", re.I)
_LINE_ADDRESS: Final = r"'\b((?:[0-9]{1,3}\.){3}[0-9]{1,3})\b'"
_LINE_ACCOUNT: Final = r"""'(?i)\b(?:user(?:name)?|account|acct|login)[ =:]+["<\[]?([^\s"<>\[\](),;]+)'"""
_LINE_OUTCOME: Final = (
    "'(?i)\\b(failed|failure|denied|rejected|refused|forbidden|invalid|accepted|succeeded|successful|granted)\\b'"
)
_RECOGNISED_BY: Final = 3
_SAMPLES: Final = 10
_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def draft(name: str, records: Sequence[bytes], samples: Sequence[bytes] | None = None) -> str:
    """The text of an entry for records like these, with `samples` in it, or else the first ten of them. RejectedError: none, or one that is no JSON object."""
    shown = records[:_SAMPLES] if samples is None else samples
    documents = [_object(record, number) for number, record in enumerate(records, 1)]
    if not documents:
        raise RejectedError("no sample", field="samples")
    if all(isinstance(document.get("syslog"), dict) for document in documents):
        return _of_lines(name, documents, shown)
    paths = [dict(_leaves(document)) for document in documents]
    common = sorted(set.intersection(*(set(each) for each in paths)), key=lambda path: (path.count("."), path))
    values = {
        path: [each[path] for each in paths if path in each] for path in sorted({p for each in paths for p in each})
    }
    times = [path for path in values if _is_time(path, values[path])]
    times = (
        times
        or [path for path in values if all(_TIME.match(str(value)) and "-" in str(value) for value in values[path])][:1]
    )
    lines = [
        f"name: {name}", f"title: {name.replace('_', ' ').capitalize()}", "vendor: TODO", "docs: TODO", "owner: TODO",
        "rhythm_s: 3600", "", "recognise:", f"  - {{{_tests(common, times)}}}", "",
        f"time: [{', '.join(map(_path, times)) or 'received'}]",
    ]  # fmt: skip
    if personal := list(_personal(values)):
        lines += ["", "personal:", *personal]
    lines += ["", "fields:", *_fields(values), "", *_sample_lines(shown)]
    return "\n".join(lines) + "\n"


def masked(record: bytes) -> bytes:
    """The record as a sample that says nothing of anybody: its shape, times, words of outcome, and values like `x`.

    For entries that are kept outside of the ledger, where nothing is sealed and nobody is erased.

    >>> masked(b'{"user": "anna", "ip": "203.0.113.7", "result": "denied", "n": 7}')
    b'{"user":"x","ip":"192.0.2.1","result":"denied","n":1}'
    """
    return json.dumps(_masked(json.loads(record)), ensure_ascii=False, separators=(",", ":")).encode()


def _masked(value: Any, path: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _masked(inner, f"{path}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, path) for inner in value[:3]]
    if isinstance(value, bool) or value is None:
        return value
    last = path.rpartition(".")[2]
    is_act = bool(_ACTIONS.fullmatch(last) or _KINDS.fullmatch(last)) or path == ".syslog.app"
    if isinstance(value, int | float):
        return value if _TIME.match(str(value)) or is_act else 1
    if _TIME.match(value) or (is_act and _WORDS.fullmatch(value)):
        return value
    if _is_address(value):
        return "2001:db8::1" if ":" in value else "192.0.2.1"
    if _EMAIL.fullmatch(value):
        return "person@example.com"
    return _TOKEN.sub(lambda found: found[0] if _TOLD.fullmatch(found[0]) else _stand_in(found[0]), value)


def _stand_in(token: str) -> str:
    return "192.0.2.1" if _is_address(token) and ":" not in token else "x"


def _sample_lines(records: Sequence[bytes]) -> Iterator[str]:
    yield "samples:"
    for number, record in enumerate(records, 1):
        yield f"  - name: sample {number}"
        yield "    origin: TODO"
        yield "    licence: TODO"
        yield f"    record: {json.dumps(json.loads(record), ensure_ascii=False)}"
        yield "    expect: {outcome: TODO}"


def _of_lines(name: str, documents: Sequence[dict[str, Any]], records: Sequence[bytes]) -> str:
    """For lines of one program in syslog: what can be said of any line, to be made better with patterns of its own."""
    programs = sorted({str(document["syslog"].get("app") or "") for document in documents} - {""})
    by = (
        [f"  - {{syslog.app: [{', '.join(map(json.dumps, programs))}]}}"]
        if programs
        else ["  - {syslog.message: {matches: TODO}}"]
    )
    return "\n".join(
        [
            f"name: {name}", f"title: {name.replace('_', ' ').capitalize()}", "vendor: TODO", "docs: TODO", "owner: TODO",
            "rhythm_s: 3600", "time_form: any", "inside: syslog", "", "recognise:", *by, "", "time: [syslog.timestamp]", "",
            "personal:", f"  - {{text: syslog.message, pattern: {_LINE_ADDRESS.replace('(', '(?P<value>', 1)}, kind: ip}}", "",
            "fields:",
            "  action: =TODO",
            f"  outcome: {{outcome: {{lower: {{capture: syslog.message, pattern: {_LINE_OUTCOME}}}}}}}",
            "  severity_id: {severity: syslog.severity}",
            "  message: syslog.message",
            f"  actor_name: {{capture: syslog.message, pattern: {_LINE_ACCOUNT}}}",
            f"  src_ip: {{capture: syslog.message, pattern: {_LINE_ADDRESS}}}",
            "  dst_host: syslog.hostname",
            "  app: syslog.app",
            "  session_id: syslog.procid",
            "",
            *_sample_lines(records),
        ]
    ) + "\n"  # fmt: skip


def _object(record: bytes, number: int) -> dict[str, Any]:
    try:
        found = json.loads(record)
    except ValueError as error:
        raise RejectedError(f"line {number} is not JSON: {error}", field="samples") from None
    if not isinstance(found, dict):
        raise RejectedError(f"line {number} is not a JSON object", field="samples")
    return found


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no object, by its path in the catalogue's language; of arrays the first element."""
    if isinstance(value, dict):
        for key, inner in value.items():
            name = f"`{key}`" if "." in key or "`" in key or " " in key else key
            yield from _leaves(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        if value and isinstance(value[0], dict):
            yield from _leaves(value[0], f"{path}[0]")
        elif value:
            yield path, value
    elif value is not None:
        yield path, value


def _is_time(path: str, values: Sequence[Any]) -> bool:
    return _TIME_NAMES.fullmatch(path) is not None and all(_TIME.match(str(value)) for value in values)


def _is_address(value: Any) -> bool:
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return False
    return isinstance(value, str)


def _tests(common: Sequence[str], times: Sequence[str]) -> str:
    chosen = [path for path in common if path not in times and "[" not in path][:_RECOGNISED_BY]
    return ", ".join(f"{_path(path)}: {{present: true}}" for path in chosen or common[:1] or ["TODO"])


def _personal(values: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    names = re.compile(f"(?:{_NAMES['actor_name']})", re.I)
    whose = [path for path in _of_somebody(values) if path.rpartition(".")[2].lower() in _WHOSE["actor_name"]]
    for path, found in values.items():
        kind = "email" if all(_EMAIL.fullmatch(str(v)) for v in found) else "ip" if all(map(_is_address, found)) else ""
        if not kind and (path in whose or names.fullmatch(path)) and path in _texts(values):
            kind = "name"
        if kind:
            yield f"  - {{path: {_path(path.replace('[0]', '[*]'))}, kind: {kind}}}"


def _fields(values: Mapping[str, Sequence[Any]]) -> list[str]:
    lines = []
    for column, pattern in _NAMES.items():
        wanted = re.compile(f"(?:{pattern})", re.I)
        found = [path for path in values if wanted.fullmatch(path.replace("[0]", "").replace("`", ""))]
        if column == "src_ip":
            found = [path for path in found or values if all(map(_is_address, values[path]))]
        if column == "actor_email":
            found = [path for path in found if all(_EMAIL.fullmatch(str(v)) for v in values[path])]
        if column not in {"changes_before", "changes_after"}:
            found = [path for path in found if not any(isinstance(v, list) for v in values[path])]
        if column == "action" and not found:
            found = [path for path in values if _ACTIONS.fullmatch(path) and path in _texts(values)]
        if column in _WHOSE and not found:
            found = [path for path in _of_somebody(values) if path.rpartition(".")[2].lower() in _WHOSE[column]]
        found.sort(key=lambda path: (path.count("."), len(path)))
        if found:
            shown = ", ".join(map(_path, found[:3]))
            if column == "action":
                is_camel = all(_CAMEL.fullmatch(str(value)) for value in values[found[0]])
                shown = f"{{{'camel' if is_camel else 'dotted'}: {_path(found[0])}}}"
            shown = f"{{severity: {_path(found[0])}}}" if column == "severity_id" else shown
            shown = f"{{outcome: {_path(found[0])}}}" if column == "outcome" else shown
            lines.append(f"  {column}: {shown if shown.startswith('{') or len(found) == 1 else f'[{shown}]'}")
    return lines or ["  message: TODO"]


def _texts(values: Mapping[str, Sequence[Any]]) -> set[str]:
    return {path for path, found in values.items() if all(isinstance(value, str) for value in found)}


def _of_somebody(values: Mapping[str, Sequence[Any]]) -> list[str]:
    """What is said of the first object that has an id and a name or an address: in an audit event, who did it."""
    for path in values:
        whose, _, last = path.rpartition(".")
        if whose and last in _WHOSE["actor_id"] and "[" not in whose and not _NOBODY.fullmatch(whose):
            about = [each for each in values if each.startswith(f"{whose}.")]
            if any(each.rpartition(".")[2] in (*_WHOSE["actor_name"], *_WHOSE["actor_email"]) for each in about):
                return about
    return []


def _path(path: str) -> str:
    return path if _BARE.fullmatch(path) else f"'{path}'"
