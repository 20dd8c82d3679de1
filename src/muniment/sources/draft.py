"""A catalogue entry drafted from samples: what a person would write first, for a person to correct. Pure.

A draft is a name, what tells its records from others' (`telling`), and `like:` the entry that reads them now; so it is never
worse than that one. Beside it stands what that one leaves empty or in the clear: every path of the samples is looked at, does it
hold times, addresses, e-mail addresses, and is its name one that the trade uses for a column? Nothing is guessed from a value
that is not of the kind.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from muniment.errors import RejectedError
from muniment.privacy.plan import SealPlan
from muniment.privacy.seal import Sealer
from muniment.sources.catalogue import Entry
from muniment.sources.people import PEOPLE
from muniment.sources.telling import Others, telling

__all__ = ["UNTIMED", "draft", "masked"]

UNTIMED: Final = "1999-01-01T00:00:00Z"
"""When records are said to have come, to see which tell their own time."""

_NAMES: Final[Mapping[str, str]] = {
    "action": "action|event|event_?type|event_?name|operation|operation_?name|activity|verb|method|type|name|message_?type",
    "outcome": "outcome|outcome\\.result|result|res|status|success|response_?status|decision|verdict|effect|disposition",
    "severity_id": "(?:.*\\.)?(?:severity|level|priority|log_?level)",
    "status_detail": "reason|error|error_?message|error_?code|outcome\\.reason|failure_?reason",
    "message": "message|description|msg|summary|display_?message",
    "actor_id": "(?:actor|user|principal|initiator|subject|account|identity|caller|operator|employee|member|staff|author|sender|requester|performer|agent)\\.(?:id|uuid|uid|sub)|user_?id|actor_?id|uid|sub|caller|username|user|login",
    "actor_name": "(?:actor|user|principal|initiator|account|identity|operator|employee|member|staff|author|sender|requester|performer|agent)\\.(?:name|display_?name|login|username)|user_?name|username|login|display_?name|actor_?name|(?:.*\\.)?(?:[a-z]+_(?:by|von|par|por|door)(?:_(?:user|name|login))?|(?-i:[a-z]+By)|(?:[a-z]+_)?(?:employee|person|staff|worker|clerk|agent|approver|sender))(?:\\.(?:name|display_?name|login|username))?",
    "actor_email": "(?:actor|user|principal|initiator|account|operator|employee|member|staff|author|sender|requester|performer|agent)\\.(?:email|mail|upn|alternate_?id|email_?address)|email|user_?email|mail|upn",
    "session_id": "(?:.*\\.)?session_?(?:id|uuid)?",
    "src_ip": "(?:.*\\.)?(?:src_?ip|source_?ip(?:_?address)?|client_?ip(?:_?address)?|ip_?address|remote_?(?:ip|addr(?:ess)?)|ip|caller_?ip(?:_?address)?)",
    "user_agent": "(?:.*\\.)?(?:user_?agent|ua|agent|client)",
    "dst_host": "(?:.*\\.)?(?:host|hostname|host_?name|server|node|computer)",
    "app": "(?:.*\\.)?(?:app|application|service|product|app_?name|application_?name)",
    "target_type": "(?:target|resource|object|entity|subject)\\.(?:type|kind)|(?:target|resource|object|entity)_?type",
    "target_id": "(?:target|resource|object|entity)\\.(?:id|uuid|uid)|(?:target|resource|object|entity|subject)\\.(?:ref|reference|key)|(?:target|resource|object|entity)_?id",
    "target_name": "(?:target|resource|object|entity)\\.(?:name|title|display_?name)|(?:target|resource|object|entity)(?:_?name)?",
    "request_id": "(?:.*\\.)?(?:request_?id|correlation_?id|event_?id|trace_?id)|uuid|id",
    "changes_before": "(?:.*\\.)?(?:before|old|old_?value|previous)",
    "changes_after": "(?:.*\\.)?(?:after|new|new_?value|changes|details|parameters)",
}  # fmt: skip
_ACTIONS: Final = re.compile(
    r"(?:(?:.*[._a-z])?(?:event|evt|action|operation|activity)|(?:.*[._])?(?:op|verb|command))(?:_?(?:name|type|kind|code))?",
    re.I,
)
_OUTCOMES: Final = re.compile(r"(?:.*[._])?(?:outcome|result|verdict|decision|status)", re.I)
_ENDED: Final = re.compile(
    r"failed|fail|failure|denied|rejected|refused|error|success|succeeded|accepted|granted|allowed|ok", re.I
)
_NOBODY: Final = re.compile(
    r"(?:.*\.)?(?:target|resource|object|entity|item|device|host|app|service|client|org.*|tenant|project|group|role|file)",
    re.I,
)
_WHOSE: Final = {"actor_id": ("id", "uid", "uuid"), "actor_name": ("name", "login"), "actor_email": ("email", "mail")}
_TIME_NAMES: Final = re.compile(
    r"(?:.*\.)?(?:time|timestamp|@timestamp|date|created(?:_?at)?|occurred_?at|published|event_?time|datetime|ts)", re.I
)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d|1[0-9]{9}(?:\d{3}|\.\d+)?$")
_MOMENT: Final = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?(?![\w-])"
)
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
_UNKNOWN_JSON: Final = "json"
_ABOUT: Final = (
    ("actor_id", "actor_name", "actor_email"),
    ("target_type", "target_id", "target_name"),
    ("changes_before", "changes_after"),
)
"""Columns of which a draft adds all or none: what is read of one thing now is not mixed with what it may be."""
_NOTHING_READ: Final[Mapping[str, tuple[object, ...]]] = {
    "outcome": ("", None, "unknown"),
    "severity_id": ("", None, 0, 1),
}
_NOT_TELLING: Final = (*PEOPLE, "device_name", "dst_host", "target_id", "target_name", "session_id", "request_id")
_WORD: Final = re.compile(r"[A-Za-z0-9_]+")
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
"""What YAML does not take as it is."""
_SAMPLES: Final = 10
_UNREAD: Final = 12
_SAID: Final = ("action", "actor_id", "target_id")
"""What an audit event says first; a draft asks for what of it is in no column."""
_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def draft(
    name: str,
    records: Sequence[bytes],
    *,
    like: Entry,
    columns: Sequence[Mapping[str, str | int]],
    others: Others,
    masks: int = 0,
) -> str:
    """The text of an entry for records like these, with the first ten of them as samples; or `masks` of them, masked.

    `like` is the entry that reads them now, `columns` is what it reads of each, as if they had come at `UNTIMED`. The draft adds
    what that leaves empty in all of them. RejectedError: no record, one that is no JSON object, nothing that tells them from others'.
    """
    documents = [_object(record, number) for number, record in enumerate(records, 1)]
    if not documents:
        raise RejectedError("no sample", field="samples")
    paths = [dict(_leaves(document)) for document in documents]
    told = telling(documents, paths, _people(columns), others)
    values = {
        path: [each[path] for each in paths if path in each] for path in sorted({p for each in paths for p in each})
    }
    shown = [masked(each, told.kept) for each in records[:masks]] if masks else records[:_SAMPLES]
    inside = ["inside: syslog"] if all(isinstance(each.get("syslog"), dict) for each in documents) else []
    lines = [
        f"name: {name}", f"title: {name.replace('_', ' ').capitalize()}", "vendor: TODO", "docs: TODO", "owner: TODO",
        "rhythm_s: 3600", f"like: {like.name}   # it reads what is not said here", *inside, "", "recognise:",
        f"  - {{{', '.join(f'{_path(path)}: {_test(test)}' for path, test in told.tests.items())}}}",
    ]  # fmt: skip
    if not inside:
        lines += _added(values, documents, records, like, columns)
    return "\n".join([*lines, "", *_sample_lines(shown)]) + "\n"


def _added(
    values: Mapping[str, Sequence[Any]],
    documents: Sequence[Mapping[str, Any]],
    records: Sequence[bytes],
    like: Entry,
    columns: Sequence[Mapping[str, str | int]],
) -> Iterator[str]:
    """What the entry says beside what it is like: only of places that this one does not read, seal or know."""
    if all(str(each.get("time", "")).startswith(UNTIMED[:10]) for each in columns):
        times = [path for path in values if _is_time(path, values[path])]
        times = (
            times or [path for path in values if all("-" in str(v) and _TIME.match(str(v)) for v in values[path])][:1]
        )
        if times:
            yield from ("", f"time: [{', '.join(map(_path, times))}]")
    if personal := list(_personal({path: values[path] for path in _in_the_clear(values, documents, records, like)})):
        yield from ("", "personal:", *personal)
    fields = _fields(values, {column for column in _NAMES if _is_empty(column, columns)})
    used = " ".join(shown for shown, _ in fields.values())
    asked = [column for column in _SAID if _is_empty(column, columns) and column not in fields]
    if "action" in fields and like.name == _UNKNOWN_JSON:
        yield from ("", "let:", f"  name: {fields.pop('action')[1]}   # of what happened; `json` reads the act from it")
    if fields:
        yield from ("", "fields:", *(f"  {column}: {shown}" for column, (shown, _) in fields.items()))
    if unread := [path for path in map(_path, _unread(values, documents, columns)) if path not in used]:
        listed = f"{', '.join(unread[:_UNREAD])}{' and more' if len(unread) > _UNREAD else ''}"
        yield from ("", f"# In no column yet: {listed}.", "# Who knows what one is gives it a column:")
        yield from ("# fields:", f"#   COLUMN: {unread[0]}   # such as {', '.join(asked or ['status_detail'])}")


def _is_in(text: str, known: Collection[str]) -> bool:
    """Is it one of these, or, where that says something, a part of one?"""
    return text in known or (len(text) > 2 and any(text in one for one in known))


def _unread(
    values: Mapping[str, Sequence[Any]],
    documents: Sequence[Mapping[str, Any]],
    columns: Sequence[Mapping[str, str | int]],
) -> Iterator[str]:
    """The places whose values are in no column of any record: texts and numbers that are no times."""
    read = [{str(value).casefold() for value in each.values() if value not in ("", None)} for each in columns]
    for path, found in values.items():
        if _is_time(path, found) or any(isinstance(value, list | bool) or _TIME.match(str(value)) for value in found):
            continue
        each = [str(dict(_leaves(document)).get(path, "")).casefold() for document in documents]
        if not any(_is_in(text, known) for text, known in zip(each, read, strict=True)):
            yield path


def _is_empty(column: str, columns: Sequence[Mapping[str, str | int]]) -> bool:
    """Is nothing read of what the column is about, in any of the records?"""
    about = next((group for group in _ABOUT if column in group), (column,))
    return all(each.get(name) in _NOTHING_READ.get(name, ("", None)) for each in columns for name in about)


def _people(columns: Sequence[Mapping[str, str | int]]) -> list[str]:
    return [str(each[name]) for each in columns for name in _NOT_TELLING if each.get(name)]


def _in_the_clear(
    values: Mapping[str, Sequence[Any]], documents: Sequence[Mapping[str, Any]], records: Sequence[bytes], like: Entry
) -> list[str]:
    """The places whose values stay as they are when records are sealed as those of `like`."""
    sealer = Sealer(SealPlan.compile([*like.personal, *like.people], has_addresses=True))
    sealed = [dict(_leaves(json.loads(sealer.seal(record)[0]))) for record in records]
    plain = [dict(_leaves(document)) for document in documents]
    return [
        path
        for path in values
        if any(path in each and now.get(path) == each[path] for each, now in zip(plain, sealed, strict=True))
    ]


def masked(record: bytes, kept: Collection[str] = ()) -> bytes:
    """The record as a sample that says nothing of anybody: its shape, times, words of outcome, `kept`, and values like `x`.

    For entries that are kept outside of the ledger, where nothing is sealed and nobody is erased.

    >>> masked(b'{"user": "anna", "ip": "203.0.113.7", "result": "denied", "n": 7}')
    b'{"user":"x","ip":"192.0.2.1","result":"denied","n":1}'
    """
    return json.dumps(_masked(json.loads(record), kept), ensure_ascii=False, separators=(",", ":")).encode()


def _masked(value: Any, kept: Collection[str], path: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _masked(inner, kept, f"{path}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, kept, path) for inner in value[:3]]
    if isinstance(value, bool) or value is None:
        return value
    last = path.rpartition(".")[2]
    is_act = bool(_ACTIONS.fullmatch(last) or _KINDS.fullmatch(last)) or path == ".syslog.app"
    if isinstance(value, int | float):
        return value if _TIME.match(str(value)) or is_act else 1
    if (is_act and _WORDS.fullmatch(value)) or value in kept or _TIME.fullmatch(value):
        return value
    if _is_address(value):
        return "2001:db8::1" if ":" in value else "192.0.2.1"
    if _EMAIL.fullmatch(value):
        return "person@example.com"
    begun = _MOMENT.match(value)
    start = begun.end() if begun else 0
    return value[:start] + _TOKEN.sub(
        lambda found: found[0] if _TOLD.fullmatch(found[0]) else _stand_in(found[0], kept), value[start:]
    )


def _stand_in(token: str, kept: Collection[str]) -> str:
    if any(word in kept for word in _WORD.findall(token)):
        return _WORD.sub(lambda found: found[0] if found[0] in kept else "x", token)
    return "192.0.2.1" if _is_address(token) and ":" not in token else "x"


def _sample_lines(records: Sequence[bytes]) -> Iterator[str]:
    yield "samples:"
    for number, record in enumerate(records, 1):
        yield f"  - name: sample {number}"
        yield "    origin: TODO"
        yield "    licence: TODO"
        text = json.dumps(json.loads(record), ensure_ascii=False)
        yield f"    record: {json.dumps(json.loads(record)) if _UNPRINTABLE.search(text) else text}"
        yield "    expect: {outcome: TODO}"


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


def _test(test: Any) -> str:
    """A test in YAML's flow style."""
    if isinstance(test, list):
        return f"[{', '.join(map(json.dumps, test))}]"
    if isinstance(test, dict):
        ((kind, wanted),) = test.items()
        return f"{{{kind}: {json.dumps(wanted) if isinstance(wanted, bool) else _quoted(wanted)}}}"
    return json.dumps(test)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _personal(values: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    names = re.compile(f"(?:{_NAMES['actor_name']})", re.I)
    whose = [path for path in _of_somebody(values) if path.rpartition(".")[2].lower() in _WHOSE["actor_name"]]
    for path, found in values.items():
        kind = "email" if all(_EMAIL.fullmatch(str(v)) for v in found) else "ip" if all(map(_is_address, found)) else ""
        if not kind and (path in whose or names.fullmatch(path)) and path in _texts(values):
            kind = "name"
        if kind:
            yield f"  - {{path: {_path(path.replace('[0]', '[*]'))}, kind: {kind}}}"


def _fields(values: Mapping[str, Sequence[Any]], wanted_columns: Collection[str]) -> dict[str, tuple[str, str]]:
    """What the wanted columns are read from, by the names of the trade: as it is written, and its first path."""
    lines: dict[str, tuple[str, str]] = {}
    for column, pattern in _NAMES.items():
        if column not in wanted_columns:
            continue
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
        if column == "outcome" and not found:  # by the end of its name, and by what stands in it
            found = [
                path
                for path in values
                if _OUTCOMES.fullmatch(path) and all(_ENDED.fullmatch(str(value)) for value in values[path])
            ]
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
            lines[column] = (shown if shown.startswith("{") or len(found) == 1 else f"[{shown}]", _path(found[0]))
    return lines


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
