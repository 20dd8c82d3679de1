"""The event inside what carried it: a record is often the envelope of a shipper, with the event in it as an object or as text.

A line of syslog that is JSON, an entry of a journal, a container's line in `log`, an event collector's `event`, a CloudEvent's `data`, the body
of an OpenTelemetry log record, a line of Loki, the sentences of an event that PowerShell wrote, an object behind the words of a logger, the bytes of a journal's text: whoever reads a record by its
content reads what is inside as if it had been sent by itself. `payloads` finds it; `opened` is the record with the payload's
members in front of its own, from which the record as it came can be cut again. Pure. The record that the ledger keeps is
never changed.

What may be inside is decided by the form of the envelope, not by the payload, and a payload may not say what only we
say of a record (`_OURS`), such as the host that a line of syslog came from. An envelope inside an envelope is opened, too, as a
collector's event that is a container's line; stops at `_LEVELS_MAX`.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from muniment.mysql_record import of_mysql_xml
from muniment.windows_event import POWERSHELL_KEYS, of_powershell, of_receiver, of_text, of_xml

__all__ = [
    "CARRIERS_KEYS",
    "COLLECTED_BEGINNING",
    "COLLECTED_MARK",
    "CUT_COLLECTED",
    "CUT_FORMS",
    "ENVELOPES",
    "ENVELOPE_FORMS",
    "OUTSIDE",
    "Payload",
    "inside",
    "opened",
    "opened_last",
    "payloads",
]

_TEXT: Final = r"\{(?:\s|\\[nrt])*(?:\\\"|\\u0022)"
"""A text in which an object with a member begins."""
_WITHIN_TEXT: Final = r" stdout | stderr |<Event[ >]|<AUDIT_RECORD[ />\\]|MSWinEventLog|EventCode="
_OF_BYTES: Final = r":\s*\[\s*\d{1,3}\s*(?:,\s*\d{1,3}\s*){7}"
"""A journal's text that is no UTF-8, as `journalctl -o json` writes it: eight bytes or more."""
_FORMS: Final = rf"\"MESSAGE\"\s*{_OF_BYTES}|\"\$b64\"|\"LogName\"|{_TEXT}|\"@cee|\"journal\"|\"specversion\"|\"detail-type\"|\"otel\"|\"loki\"|\"stream\"|\"TopicArn\"|{_WITHIN_TEXT}"
_COLLECTED: Final = (r"\{\s*\"(?:time|host|source|sourcetype|index|event|fields)\"\s*:", r"\"event\"")
"""How an event collector's record begins, and what it has."""
ENVELOPES: Final = rf"(?s:\A\s*{_COLLECTED[0]}.*{_COLLECTED[1]}|\A\s*\{{\s*{_COLLECTED[1]}\s*:)|{_FORMS}"
"""An RE2 pattern that is found in every record with a payload, and in few others."""
ENVELOPE_FORMS: Final = _FORMS
COLLECTED_BEGINNING: Final = rf"\A\s*{_COLLECTED[0]}"
COLLECTED_MARK: Final = _COLLECTED[1]
"""The same for a look at many records at once: a record with a payload has the forms, or it begins so and has the mark."""
CUT_FORMS: Final = rf"{_OF_BYTES}|\$b64|LogName|\{{(?:\s|\\[nrt])*\\|@cee|journal|specversion|detail-type|otel|loki|stream|TopicArn|{_WITHIN_TEXT}"
CUT_COLLECTED: Final = (
    r"\A[\x00-\x20]*\{\s*(?:[\x00-\x1f]|\"(?:time|host|source|sourcetype|index|event|fields)\")",
    "event",
)
"""The same where parts of a record that begin and end with a quote were cut out and stand elsewhere (`search.schema`): a record with
a payload has the forms in one of its pieces, or it begins so without the parts, and has that text in one of its pieces.
"""

OUTSIDE: Final = "$outside"
"""The key under which `opened` says what the envelope knows: `host`, `app` and `time`, as texts."""

_LEVELS_MAX: Final = 3
_OURS: Final = frozenset(("syslog", "$quarantine", "$raw", "$raw_b64", OUTSIDE))
_OURS_OF_SYSLOG: Final = frozenset(("peer", "tls_subject"))
"""What the door writes beside a line: a payload that has such keys is opened, and what the door wrote counts."""
_COLLECTOR: Final = frozenset(
    ("time", "host", "source", "sourcetype", "index", "event", "fields")
)  # `_COLLECTED` has them, too
_TEXTS: Final = (
    "message", "log", "msg", "line", "@message", "MESSAGE", "body", "textPayload", "_raw", "short_message", "full_message",
)  # fmt: skip
_CARRIERS: Final = frozenset(("syslog", "journal", "otel", "loki", "specversion", "detail-type", "TopicArn"))
_SHIPPERS: Final = frozenset(
    ("@timestamp", "@version", "time", "timestamp", "ts", "date", "_time", "host", "hostname", "source", "source_type", "sourcetype", "index",
     "agent", "beat", "ecs", "event", "fields", "tags", "type", "input", "log", "level", "severity", "file", "path", "offset",
     "stream", "logtag", "docker", "container", "container_name", "kubernetes", "cloud", "labels", "metadata", "service",
     "logger", "id", *_TEXTS)
)  # fmt: skip
"""What shippers write around an event; an outer key beside these that is inside, too, belongs to an event of its own."""
_COOKIE: Final = re.compile(r"\s*(?:@cee:|\S+ (?:stdout|stderr) [FP] )\s*")
_CONTAINER: Final = re.compile(r"\S+ (?:stdout|stderr) [FP] ")
_WORDS: Final = re.compile(r"(?:[^{}=|]++|\{\$sealed:\d+\})*+(?<=[\s\]:])")
"""What stands before the object of a line: words of a logger, and no values of its own."""
_WORDS_CHARS_MAX: Final = 300
_TAG: Final = re.compile(r"[\w-]+:?\s*")
"""One word: it may be the name of a product, whose own entry reads such lines."""
_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?(?!\d)")
_CLOCK: Final = re.compile(r"\d:\d\d:\d\d")
_HEAD: Final = re.compile(
    r"[\s\[\]:-]*(?:(?P<channel>[\w.$/-]{1,60})\.)?(?P<level>(?:DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|CRIT(?:ICAL)?|ALERT|EMERG(?:ENCY)?|FATAL)\b"
    r"|(?i:debug|info|notice|warn|warning|error|critical|alert|fatal)(?=[\]:]))[\]:]?\s*(?:\[(?P<logger>[^\[\]\s]{1,60})\])?"
)
"""What loggers write before the sentence, without its time."""
_BARE: Final = re.compile(r"(?<=[:,\[{ ])\{\$sealed:(\d+)\}(?=\s*[,:}\]])")
_Place = tuple[str, ...]
_HOSTS: Final[tuple[_Place, ...]] = (
    ("syslog", "hostname"), ("otel", "resource", "host.name"), ("_HOSTNAME",), ("host",), ("host", "name"),
    ("hostname",), ("kubernetes", "host"), ("kubernetes", "node_name"), ("kubernetes", "node", "name"),
    ("loki", "stream", "host"), ("loki", "stream", "hostname"), ("loki", "stream", "instance"), ("agent", "hostname"),
)  # fmt: skip
_APPS: Final[tuple[_Place, ...]] = (
    ("syslog", "app"), ("otel", "resource", "service.name"), ("SYSLOG_IDENTIFIER",), ("service", "name"),
    ("kubernetes", "container_name"), ("kubernetes", "container", "name"), ("container_name",), ("container", "name"),
    ("loki", "stream", "app"), ("loki", "stream", "service_name"), ("loki", "stream", "container"), ("loki", "stream", "job"),
)  # fmt: skip
_MOMENTS: Final[tuple[_Place, ...]] = (
    ("syslog", "sd", "fields@274489", "t"),  # Splunk's relay: when it took the event in
    ("syslog", "timestamp"), ("otel", "timeUnixNano"), ("otel", "observedTimeUnixNano"), ("loki", "ts"), ("@timestamp",), ("time",),
    ("timestamp",), ("_time",), ("__REALTIME_TIMESTAMP",),
)  # fmt: skip
_TIMES: Final = frozenset(("@timestamp", "time", "timestamp", "_time"))
_TIMES_BELOW: Final = ("timestamp", "timeUnixNano", "observedTimeUnixNano", "ts")
_KNOWING: Final = frozenset(place[0] for place in (*_HOSTS, *_APPS, *_MOMENTS))
CARRIERS_KEYS: Final = _SHIPPERS | _CARRIERS | _COLLECTOR | _OURS | _OURS_OF_SYSLOG | _KNOWING
"""What stands beside the events of anybody: keys that say nothing of what an event is."""
_OUTSIDE: Final = (("host", _HOSTS), ("app", _APPS), ("time", _MOMENTS))
_NOTHING: Final = msgspec.Raw(b'""')
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError)
"""No JSON, or texts that are no Unicode (a lone surrogate): such a record is nobody's envelope."""
_DECODER: Final = json.JSONDecoder()
_Members = dict[str, msgspec.Raw]
_MEMBERS: Final = msgspec.json.Decoder(_Members)


@dataclass(frozen=True, slots=True)
class Payload:
    """`body`: the text of one JSON object, not empty; of a plain line, `{"message": line}`. `escapes`: in how many strings of the
    record it stands, so that what is in its own strings is escaped so many times more there. `place`: where the record has it.
    `is_rewritten`: the record has its values within one string, in another form than JSON. `coded`: what the record has in the place of a
    text, where that is no text at all: an array of its bytes, or those in base64.
    """

    body: bytes
    escapes: int
    place: str
    is_rewritten: bool = False
    coded: bytes = b""


class _Found(NamedTuple):
    """What is inside of one envelope: see `Payload`; its members where they are known, and those of what it stands in."""

    body: bytes
    escapes: int
    place: str
    is_rewritten: bool = False
    coded: bytes = b""
    members: _Members | None = None
    around: _Members | None = None


class _Level(NamedTuple):
    """An envelope by its members, what is inside of it, and the members of that."""

    outer: _Members
    found: _Found
    escapes: int


def payloads(record: bytes) -> list[Payload]:
    """What is inside a record, valid JSON objects, each in the one before; none where it is no envelope, or closed.

    >>> payloads(b'{"log":"{\\\\"user\\\\":\\\\"anna\\\\"}\\\\n","stream":"stdout"}')
    [Payload(body=b'{"user":"anna"}', escapes=1, place='log', is_rewritten=False, coded=b'')]
    """
    try:
        levels = _levels(_MEMBERS.decode(record))
        return [
            Payload(found.body, escapes, found.place, found.is_rewritten, found.coded) for _, found, escapes in levels
        ]
    except _UNREADABLE:
        return []


def _levels(outer: _Members) -> list[_Level]:
    """From the outermost; `escapes` counts from the record."""
    levels: list[_Level] = []
    escapes = 0
    while len(levels) < _LEVELS_MAX and (found := _payload(outer)) is not None:
        escapes += found.escapes
        levels.append(_Level(outer, found, escapes))
        if found.is_rewritten:
            break
        outer = _own(found)
    return levels


def _own(found: _Found) -> _Members:
    return _MEMBERS.decode(found.body) if found.members is None else found.members


def _payload(outer: _Members) -> _Found | None:
    """What is inside of one envelope."""
    if "MESSAGE" in outer and (said := _of_bytes(coded := bytes(outer["MESSAGE"]))):
        return _Found(orjson.dumps({"MESSAGE": said}), 0, "MESSAGE", is_rewritten=True, coded=coded)
    if "LogName" in outer and "ProviderName" in outer:
        event = of_powershell({key: orjson.loads(bytes(outer[key])) for key in POWERSHELL_KEYS & outer.keys()})
        return _Found(orjson.dumps(event), 0, "Message", is_rewritten=True) if event is not None else None
    value, is_line, place, around = _value(outer)
    first = value[:1]
    if first == b"{":
        if "otel" in outer and b'"event_id"' in value and (event := of_receiver(orjson.loads(value))) is not None:
            return _Found(orjson.dumps(event), 0, place, around=around)
        return _allowed(_Found(value, 0, place, around=around), outer)
    if first != b'"':
        return None
    text: str = orjson.loads(value)
    if (text[:1] != "{" or " std" in text) and (cookie := _COOKIE.match(text)):
        is_line = is_line or not cookie.group().lstrip().startswith("@cee:")
        text = text[cookie.end() :]
    text = text.strip()
    if (known := _known(text, _is_windows(value))) is not None:
        return _Found(orjson.dumps(known), 0, place, is_rewritten=True, around=around)
    if text[:1] == "{" and text[-1:] == "}":
        body = _good(text)
    elif (is_line or _is_line(outer, place)) and text[-1:] in ("}", "]"):
        body = _behind_words(text)
        if body is None and is_line:
            return _Found(_as_message(text), 0, place, is_rewritten=True, around=around)
    elif is_line and text:
        return _Found(_as_message(text), 0, place, is_rewritten=True, around=around)
    else:
        return None
    return _allowed(_Found(body, 1, place, around=around), outer) if body is not None else None


def _of_bytes(coded: bytes) -> str:
    """A journal's text that is no UTF-8, of the array of its bytes or of what our own door writes; '' for all else.

    >>> _of_bytes(b"[72,105,33]")
    'Hi!'
    """
    if coded[:1] == b"[":
        numbers = orjson.loads(coded)
        if all(type(number) is int and 0 <= number <= 255 for number in numbers):
            return bytes(numbers).decode("utf-8", "replace")
    elif coded[:1] == b"{":
        members = orjson.loads(coded)
        if list(members) == ["$b64"] and isinstance(members["$b64"], str):
            return binascii.a2b_base64(members["$b64"]).decode("utf-8", "replace")
    return ""


def _as_message(line: str) -> bytes:
    return orjson.dumps({"message": line})


def _is_markup(start: bytes) -> bool:
    return b"<Event" in start[:8] or b"<AUDIT_RECORD" in start


def _known(text: str, is_windows: bool) -> Mapping[str, Any] | None:
    """The object that a text of a known form stands for."""
    if text[:6] == "<Event":
        return of_xml(text)
    if text[:13] == "<AUDIT_RECORD":
        return of_mysql_xml(text)
    return of_text(text) if is_windows else None


def _is_windows(value: bytes) -> bool:
    return b"MSWinEventLog" in value or b"EventCode=" in value


def inside(record: bytes) -> bytes:
    """The text of the innermost payload, of a record that is no envelope the record: what an entry is drafted from."""
    found = payloads(record)
    return found[-1].body if found else record


def opened(record: bytes) -> tuple[bytes, int]:
    r"""The record with its payload's members first, and how many bytes were put behind the first brace; 0: it is no envelope.

    For readers to whom the first of two equal keys counts; the text that was opened and the envelope's times count as gone. `b"{" + text[1 + n:]`
    is the record as it came.

    >>> opened(b'{"log":"{\\"a\\":1}","stream":"stdout"}')
    (b'{"a":1,"log":"","$outside":{},"log":"{\\"a\\":1}","stream":"stdout"}', 29)
    """
    added = _added(record)
    return (b"{%b,%b" % (added, record[1:]), len(added) + 1) if added else (record, 0)


def opened_last(record: bytes) -> bytes:
    """The record with its payload's members behind its own: for readers to whom the last of two equal keys counts."""
    added = _added(record)
    return b"%b,%b}" % (record.rstrip()[:-1], added) if added else record


def _added(record: bytes) -> bytes:
    """The members of the payload, and what the envelope says of it; b'' without one."""
    try:
        return _members(_MEMBERS.decode(record)) if record[:1] == b"{" else b""
    except _UNREADABLE:
        return b""


def _members(outer: _Members) -> bytes:
    levels = _levels(outer)
    if not levels:
        return b""
    outside: dict[str, str] = {}
    for envelope, *_ in levels:  # who is nearer to the event knows better
        known = {key: orjson.loads(bytes(raw)) for key, raw in envelope.items() if key in _KNOWING}
        outside |= {name: text for name, places in _places(tuple(known)) if (text := _first(known, places, name))}
    body, own = levels[0].found.body, _own(levels[0].found)
    if len(levels) > 1:
        within: dict[str, msgspec.Raw | bytes] = {}
        for envelope, found, escapes in levels[1:]:
            within |= envelope | _gone(envelope, found, is_text=escapes > 0)
        body = msgspec.json.encode(within | _own(levels[-1].found))
        own = _MEMBERS.decode(body)
    gone = _gone(outer, levels[0].found, is_text=len(levels) > 1)
    ours = _OURS_OF_SYSLOG & own.keys() if "syslog" in outer else ()
    doors = [b'"%b":%b' % (key.encode(), bytes(outer.get(key, _NOTHING))) for key in sorted(ours)]
    members = [*doors, body.strip()[1:-1].strip()]
    members += [b'"%b":%b' % (key.encode(), bytes(rest)) for key, rest in gone.items() if key not in own]
    return b",".join((*members, b'"%b":%b' % (OUTSIDE.encode(), orjson.dumps(outside)), *doors))


def _gone(envelope: _Members, found: _Found, *, is_text: bool = False) -> _Members:
    """The members of an envelope that say nothing once it is opened: the text that was, and its own times."""
    gone = _without(envelope, found) if is_text or found.escapes or found.is_rewritten else {}
    return gone | {key: _NOTHING for key in _TIMES if key in envelope}


def _without(outer: _Members, found: _Found) -> _Members:
    """The member of the envelope that the payload was at, without it and the envelope's own time."""
    key, _, below = found.place.partition(".")
    if not below:
        return {key: _NOTHING}
    around = _MEMBERS.decode(outer[key]) if found.around is None else found.around
    changed = around | {name: _NOTHING for name in (below, *_TIMES_BELOW) if name in around}
    return {key: msgspec.Raw(msgspec.json.encode(changed))}


def _value(outer: _Members) -> tuple[bytes, bool, str, _Members | None]:
    """The JSON text of what may be inside, b'' for nothing; whether it is an event although it is no JSON; its key; what is beside it."""
    if "syslog" in outer:
        around = _below(outer, "syslog")
        value = bytes(around.get("message", b""))
        return value if value[:1] == b'"' else b"", False, "syslog.message", around
    if "otel" in outer:
        around = _below(outer, "otel")
        is_line = _says_only_where(bytes(around.get("attributes", b"")))
        return bytes(around.get("body", b"")), is_line, "otel.body", around
    if "journal" in outer:
        return bytes(outer["journal"]), False, "journal", None
    if "loki" in outer:
        around = _below(outer, "loki")
        return bytes(around.get("line", b"")), True, "loki.line", around
    if "specversion" in outer:
        return bytes(outer.get("data", b"")), False, "data", None
    if "TopicArn" in outer:
        return bytes(outer.get("Message", b"")), False, "Message", None
    if "detail-type" in outer:
        return bytes(outer.get("detail", b"")), False, "detail", None
    if "event" in outer and outer.keys() <= _COLLECTOR:
        return bytes(outer["event"]), True, "event", None
    for key in _TEXTS:
        if key in outer:
            value = bytes(outer[key])
            if value[:1] == b'"' and (
                b"{" in value[:400] or b" std" in value[:80] or _is_markup(value[:40]) or _is_windows(value)
            ):
                return value, key == "log" and "stream" in outer, key, None
    return bytes(outer.get("log", b"")) if "stream" in outer else b"", True, "log", None


def _says_only_where(attributes: bytes) -> bool:
    """Attributes of a log record that tell its file alone (`log.file.path`): else the record is an event, its body a sentence."""
    return attributes[:1] != b"{" or all(name.startswith("log.") for name in _MEMBERS.decode(attributes))


def _below(outer: _Members, key: str) -> _Members:
    try:
        return _MEMBERS.decode(outer[key])
    except msgspec.ValidationError:  # no object
        return {}


def _good(text: str) -> bytes | None:
    """A text as one JSON object, no key twice; values that were sealed or erased in it are texts."""
    if _is_good(text):
        return text.encode()
    quoted = _quoted(text)
    return quoted.encode() if quoted != text and _is_good(quoted) else None


def _quoted(text: str) -> str:
    return _BARE.sub(r'"{$sealed:\1}"', text) if "{$sealed:" in text else text


def _is_good(text: str) -> bool:
    try:
        document = orjson.loads(text)
        if type(document) is not dict:
            return False
        written, body = orjson.dumps(document), text.encode()  # what survives it has no key twice
        if written != body and written != body.replace(b'": ', b'":').replace(b", ", b","):
            json.loads(text, object_pairs_hook=_once, parse_int=str, parse_float=str)
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")


def _is_line(outer: _Members, place: str) -> bool:
    """Is it what a program wrote, of which nothing else is said?"""
    return place == "syslog.message" or (place in _TEXTS and outer.keys() <= CARRIERS_KEYS)


def _behind_words(text: str) -> bytes | None:
    """The object with which a line ends, with the words before it as its message, and their time and level; as Monolog writes
    it, a list that is empty or a second object may stand behind.

    >>> _behind_words('[2026-11-23 06:36:01] shop.INFO: paid {"order":7} []')
    b'{"time":"2026-11-23 06:36:01","level":"INFO","logger":"shop","message":"paid","order":7}'
    """
    words = _WORDS.match(text)
    if words is None or text[words.end() : words.end() + 1] != "{" or _TAG.fullmatch(words.group()):
        return None
    parts = _objects(_quoted(text[words.end() :])) if words.end() <= _WORDS_CHARS_MAX else None
    if parts is None or not all(map(_is_good, parts)):
        return None
    members = _MEMBERS.decode(parts[1]) | _MEMBERS.decode(parts[0])
    told, said = words.group(), {}
    if stamp := _STAMP.search(told):
        said["time"] = stamp.group()
        told = told[: stamp.start()] + told[stamp.end() :]
    elif _CLOCK.search(told):  # a time that is not known here
        return None
    if head := _HEAD.match(told):
        said |= {"level": head["level"], "logger": head["channel"] or head["logger"] or ""}
        told = told[head.end() :]
    said["message"] = told.removeprefix("[]").strip(" \t\r\n:-")
    return msgspec.json.encode({key: text for key, text in said.items() if text and key not in members} | members)


def _objects(text: str) -> tuple[str, str] | None:
    """The object in front, and the one behind it or `{}`; None where something else is behind."""
    try:
        _, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    more = text[end:].strip()
    return (text[:end], "{}" if more in ("", "[]") else more)


def _allowed(found: _Found, outer: _Members) -> _Found | None:
    """What is inside, unless it says what is ours to say, or what an envelope that is an event itself says."""
    members = _MEMBERS.decode(found.body)
    if not members or not _OURS.isdisjoint(members):
        return None
    if _CARRIERS.isdisjoint(outer) and not outer.keys() & members.keys() <= _SHIPPERS:
        return None
    return found._replace(members=members)


@lru_cache(maxsize=1_024)
def _places(known: tuple[str, ...]) -> list[tuple[str, list[_Place]]]:
    """Where an envelope with these keys may say what we want to know of it."""
    return [(name, found) for name, places in _OUTSIDE if (found := [place for place in places if place[0] in known])]


def _first(known: Mapping[str, Any], places: Sequence[_Place], name: str) -> str:
    for place in places:
        value: Any = known
        for key in place:
            value = value.get(key) if type(value) is dict else None
        if type(value) is str and value:
            return value
        if type(value) in {int, float} and name == "time":
            return str(value)
    return ""
