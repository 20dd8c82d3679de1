"""Syslog headers: RFC 5424 to the letter, RFC 5424 as sent, RFC 3164 and what vendors make of it.

Text in, `Header` out; never an error. What cannot be told for certain stays None and its text stays in the message.
`deviations` names the parts that break RFC 5424 (or, without it, the priority); a strict message has none.

Where it stops: time stamps are kept as the text given, because only the source's mapping knows its zone and year;
CEF, LEEF and key-value payloads stay in the message.

    HEADER = PRI VERSION SP TIMESTAMP SP HOSTNAME SP APP-NAME SP PROCID SP MSGID      ; RFC 5424 section 6
    SD-ELEMENT = "[" SD-ID *(SP SD-PARAM) "]"     SD-PARAM = PARAM-NAME "=" %d34 PARAM-VALUE %d34
    PRI TIMESTAMP SP HOSTNAME SP TAG MSG                                              ; RFC 3164 section 4.1
    PRI [SEQ ": "] [HOSTNAME ": "] ["*" / "."] TIMESTAMP ": %" FAC "-" SEV "-" MNEMONIC ": " MSG    ; Cisco IOS, ASA

A relay that puts a header of its own before the sender's is looked through, once: the sender's time, host and tag count,
the relay's stand in where the sender says nothing.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

__all__ = ["Header", "parse_header"]

# The quantifiers that can meet attacker text are possessive (`*+`): no backtracking, linear time.
_SD_STRICT: Final = r'(?:\[[!#-<>-\\^-~]{1,32}(?: [!#-<>-\\^-~]{1,32}="[^"\\\]]*+(?:\\["\\\]][^"\\\]]*+)*+")*+\])++'
_SD_LENIENT: Final = r'(?:\[[^\s=\]"]++(?: +[^\s=\]"]++="[^"\\]*+(?:\\.[^"\\]*+)*+")*+ *+\])++'
_STRICT: Final = re.compile(
    r"<(0|[1-9][0-9]{0,2})>([1-9][0-9]{0,2}) "
    r"(-|[0-9]{4}-(?:0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])) "
    r"([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) "
    rf"(?:-|({_SD_STRICT}))(?: |\Z)"
)
_ZONE: Final = (
    r"(?:UTC|GMT|CES?T|MES?T|EES?T|WES?T|BST|MSK|[ECMP][SD]T|AK[SD]T|HST|BRT|SAST|IST|SGT|HKT|[JK]ST|A[WC]ST|AE[SD]T"
    r"|NZ[SD]T|[+-][0-9]{2}:?[0-9]{2})(?= )"
)
_ISO: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r"(?: ?[+-][0-9]{2}:?[0-9]{2})?[Zz]?(?: [AaPp][Mm](?=[ :]))?(?![0-9:-])"
)
_HALF: Final = r"(?: [AaPp][Mm](?=[ :]))?"
_CLOCK: Final = rf"[0-9]{{1,2}}:[0-9]{{2}}:[0-9]{{2}}(?:[.,][0-9]{{1,9}})?{_HALF}"
_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY: Final = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_TIME: Final = (
    rf"(?:{_ISO}(?: {_ZONE})?"
    rf"|(?:{_DAY},? +)?(?:[0-9]{{4}} )?{_MONTH} {{1,2}}[0-9]{{1,2}},?(?: [0-9]{{4}})? {_CLOCK}"
    r"(?:[+-][0-9]{2}:[0-9]{2}(?= ))?"
    rf"(?: {_ZONE})?(?: [0-9]{{4}}(?= |:(?: |\Z)))?(?: (?:[A-Z]{{2,5}}|[+-][0-9]{{2}}:?[0-9]{{2}})(?= ?:)|(?: {_ZONE}))?"
    rf"|[0-9]{{4}}/[0-9]{{2}}/[0-9]{{2}}[ -]{_CLOCK}(?: {_ZONE})?"
    rf"|[0-9]{{4}}:[0-9]{{2}}:[0-9]{{2}}-{_CLOCK}"
    rf"|[0-9]{{1,2}}/[0-9]{{1,2}}/[0-9]{{4}}[ :]{_CLOCK}(?: {_ZONE})?"
    rf"|(?:{_DAY},? )?[0-9]{{1,2}}[ /-]{_MONTH}[ /-][0-9]{{4}}[ :]{_CLOCK}(?: {_ZONE})?"
    r"|1[0-9]{9}(?:\.[0-9]{1,9}|[0-9]{3})?(?= ))"
)
_LENIENT: Final = re.compile(rf"(?:<([0-9]{{1,9}})> ?)?([1-9][0-9]{{0,2}}) +(-|{_TIME}) +(\S++)")
_LENIENT_REST: Final = re.compile(rf" +(\S++) +(\S++) +(\S++) +(?:-(?=\s|\Z)|({_SD_LENIENT})|(?=(\[))) ?")
_LENIENT_NO_SD: Final = re.compile(
    r" +([A-Za-z][^\s:=\[\]]{0,47}) +(-|[0-9]{1,10}) +(-|[A-Z][A-Za-z0-9_]{0,31})(?: |\Z)"
)
_BSD: Final = re.compile(
    rf"<([0-9]{{1,3}})>({_MONTH} [ 0-9][0-9] [0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}) "
    r"([A-Za-z0-9_.-]++) (?![0-9]+:)([A-Za-z0-9_./()@+-]{1,128})(?:\[([^\]\s]{0,128})\])?:"
    rf"(?: (?![%*.<]|{_MONTH} [ 0-9][0-9] |[0-9]+: |\[ID )|\Z)"
)
_PRI: Final = re.compile(r"\s{0,8}<([0-9]{1,9})>")
_CISCO: Final = re.compile(
    r":?\s?(?:([0-9]{1,12}): ?)?(?:[0-9]{1,12}: )?"
    r"(?:((?=[0-9_-]*+[A-Za-z.])[A-Za-z0-9_.-]{1,255}+)(?: [0-9]{1,12})? ?: )?(?:[0-9]{1,12}: )?"
    r"(?:\*[^:%]{1,40}: )?(?:(?:([A-Za-z0-9_.-]{1,255}) )?(?:[A-Z]{1,4}/)?[0-9]{1,3}/[A-Z0-9/]{1,20}:)?"
    rf"(?=[*.]?{_TIME}|([0-9]+:[0-9]{{2}}:[0-9]{{2}}(?:\.[0-9]+)?: |[0-9]+[ywd][0-9]+[wdh]: )?%[A-Z0-9_-]+-[0-7]-)"
)
_CISCO_HEAD: Final = rf"(?:[0-9]{{1,12}}: )?(?:[A-Za-z0-9_.-]{{1,255}}+ ?: )?(?:[0-9]{{1,12}}: )?[*.]?{_TIME} ?: ?%"
_INNER: Final = re.compile(
    rf" {{0,3}}(?:: )?(?=<1?[0-9]{{1,2}}>[^ ]|1 {_TIME} |{_MONTH} [ 0-9][0-9] [0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}} \S|{_CISCO_HEAD})"
)
_INNER_PRI: Final = re.compile(rf"<1?[0-9]{{1,2}}>(?:[1-9] |(?:[0-9]+: )?[*.]?{_TIME})")
_STAMP: Final = re.compile(rf"\s{{0,4}}[*.]?({_TIME})( ?:)?")
_HOST: Final = re.compile(
    r" {1,4}(?!(?:last )?message repeated |-- MARK --)(Message forwarded from )?(?:slot[0-9]{1,2}/)?"
    r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9_][A-Za-z0-9_.:@/%-]{0,254}))(?: ?:(?= )|(?= )|\Z)"
)
_SURE_HOST: Final = re.compile(
    r"(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{1,4}:[0-9A-Fa-f:]{2,40}"
    r"|(?!(?:com|org|net|io|java|javax|rc)\.)(?=[A-Za-z0-9-]{0,62}[0-9-])[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+"
    r"(?<!\.py)(?<!\.sh)(?<!\.pl)(?<!\.exe)|[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){2,}(?<!\.service)):?\Z"
)
_LIKE_HOST: Final = re.compile(r"(?=[^:]*[0-9.-])[A-Za-z0-9][A-Za-z0-9._-]{1,253}:\Z")
_TAG_NEXT: Final = re.compile(r" {1,2}(?:%(?:ASA|FTD|FWSM|PIX)-|[A-Za-z][A-Za-z0-9_./-]{0,60}(?:\[[^\]\s]{1,20}\])?: )")
_NAMED: Final = re.compile(
    r"\s{0,2}([A-Za-z0-9][A-Za-z0-9._-]{1,253}:?)(?= [A-Za-z][A-Za-z0-9_./-]{0,60}\[[0-9]{1,10}\]: | ?:? %[A-Z]|(?<=:) )"
)
_LEVEL: Final = r"(?:emerg|alert|crit|err|error|warning|warn|notice|info|debug)"
_TAG: Final = re.compile(
    rf"\s{{0,4}}(?:(?:{_LEVEL} )?([^\s:\[\]=|{{}}\"<>,]{{1,128}})\[([^\]\s]{{0,128}})\](?:\[[^\]\s]{{0,128}}\])?(?::|(?=\s|\Z))"
    r"|(?:[0-9]{5} )?([^\s:\[\]=|{}\"<>,]{1,128}):(?=\s|\Z)) ?"
)
_MNEMONIC: Final = re.compile(
    r"\s{0,2}:?\s?(?:([0-9]{1,12}): )?(%[A-Z][A-Z0-9_]{0,63}(?:-[A-Za-z0-9_]{1,63}){0,7}-([0-7])-[A-Za-z0-9_]+)(?=:| )"
)
_SOLARIS: Final = re.compile(r"\[(ID [0-9]{1,8}) [a-z0-9]{1,16}\.[a-z]{1,16}\] ")
_NOT_A_HOST: Final = re.compile(r"CEF:|LEEF:|%|.*:\Z|[0-9]+-PPE-[0-9]")
_ELEMENT: Final = re.compile(r'\[([^\s=\]"]++)((?: +[^\s=\]"]++="[^"\\]*+(?:\\.[^"\\]*+)*+")*+) *+\]', re.DOTALL)
_PARAM: Final = re.compile(r'([^\s=\]"]++)="([^"\\]*+(?:\\.[^"\\]*+)*+)"', re.DOTALL)
_ESCAPE: Final = re.compile(r'\\(["\\\]])')
_BOM: Final = "\ufeff"


class Header(NamedTuple):
    """What a message says of itself; None where it does not. `pri` is checked (0-191)."""

    pri: int | None
    version: int | None
    timestamp: str | None
    hostname: str | None
    app: str | None
    procid: str | None
    msgid: str | None
    sd: dict[str, dict[str, str | list[str]]] | None
    message: str
    sequence: str | None = None  # Cisco's message counter
    severity: int | None = None  # from a Cisco mnemonic when there is no priority
    deviations: tuple[str, ...] = ()


def parse_header(text: str) -> Header:
    """Read the header of one message, without its framing.

    >>> parse_header("<34>1 2003-10-11T22:14:15.003Z mx su - ID47 - 'su root' failed").hostname
    'mx'
    >>> parse_header("<34>Oct 11 22:14:15 mx su[7]: 'su root' failed")[3:6]
    ('mx', 'su', '7')
    >>> parse_header("<13>Nov 23 06:36:02 relay <34>Oct 11 22:14:15 mx su: 'su root' failed")[2:5]
    ('Oct 11 22:14:15', 'mx', 'su')
    """
    return _header(text, is_relayed=False)


def _header(text: str, *, is_relayed: bool) -> Header:
    if text[:1] == _BOM:
        text = text[1:]
    found = _BSD.match(text)
    if found:
        pri, stamp, host, app, procid = found.groups()
        number = int(pri)
        if number < 192 and (pri[0] != "0" or number == 0):
            return Header(number, None, stamp, host, app, procid, None, None, text[found.end() :])
    found = _STRICT.match(text)
    if found:
        head = _strict(text, found)
        if head.app is None and not is_relayed and head.message[:1] == "<" and _INNER_PRI.match(head.message):
            return _relayed(head, head.message)
        return head
    found = _LENIENT.match(text)
    if found and (found[1] is not None or (found[2] == "1" and found[3] != "-")):
        return _lenient(text, found, is_relayed=is_relayed)
    return _legacy(text, is_relayed=is_relayed)


def _relayed(outer: Header, text: str) -> Header:
    """The sender's header behind a relay's, whose parts fill what the sender left out."""
    inner = _header(text, is_relayed=True)
    return inner._replace(
        pri=outer.pri if inner.pri is None else inner.pri,
        timestamp=inner.timestamp or outer.timestamp,
        hostname=inner.hostname or outer.hostname,
        severity=inner.severity if outer.pri is None else None,
    )


def _nil(word: str) -> str | None:
    return None if word == "-" else word


def _priority(digits: str | None) -> tuple[int | None, tuple[str, ...]]:
    if digits is None:
        return None, ("pri",)
    number = int(digits)
    if number > 191:
        return None, ("pri",)
    return number, () if len(digits) == len(str(number)) else ("pri",)


def _strict(text: str, found: re.Match[str]) -> Header:
    pri, version, stamp, day, host, app, procid, msgid, sd = found.groups()
    number, deviations = _priority(pri)
    if day is not None and day > "28" and not _is_date(stamp):
        deviations += ("timestamp",)
    elements = None
    if sd is not None:
        elements, is_unique = _elements(sd)
        if not is_unique:
            deviations += ("sd",)
    message = text[found.end() :]
    if message.startswith(_BOM):
        message = message[1:]
    return Header(
        number, int(version), _nil(stamp), _nil(host), _nil(app), _nil(procid), _nil(msgid), elements, message,
        deviations=deviations,
    )  # fmt: skip


def _is_date(stamp: str) -> bool:
    year, month, day = int(stamp[:4]), int(stamp[5:7]), int(stamp[8:10])
    if month == 2:
        return day <= (29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28)
    return day <= (30 if month in (4, 6, 9, 11) else 31)


def _elements(sd: str) -> tuple[dict[str, Any], bool]:
    """The elements of structured data; a parameter given twice becomes a list. False: an SD-ID came twice."""
    elements: dict[str, Any] = {}
    is_unique = True
    for name, body in _ELEMENT.findall(sd):
        params = elements.setdefault(name, {})
        is_unique = is_unique and not params
        for key, value in _PARAM.findall(body):
            # RFC 5424 6.3.3: only \" \\ \] are escapes; any other sequence stays as it is.
            plain = _ESCAPE.sub(r"\1", value) if "\\" in value else value
            if key in params:
                before = params[key]
                params[key] = [*before, plain] if isinstance(before, list) else [before, plain]
            else:
                params[key] = plain
    return elements, is_unique


def _lenient(text: str, found: re.Match[str], *, is_relayed: bool) -> Header:
    """Version and time are there, but something breaks RFC 5424: say what, keep the rest."""
    pri, version, stamp, host = found.groups()
    number, deviations = _priority(pri)
    rest = _LENIENT_REST.match(text, found.end())
    if rest is None:
        head = Header(number, int(version), _nil(stamp), _nil(host), None, None, None, None, text[found.end() :])
        rest = _LENIENT_NO_SD.match(text, found.end())
        if rest is None:  # RFC 5424 begun, then a payload: Meraki, LEEF
            return _after_host(head, text, found.end(), (*deviations, "header"), is_relayed=is_relayed)
        app, procid, msgid = map(_nil, rest.groups())
        message = text[rest.end() :].removeprefix(_BOM)
        return head._replace(app=app, procid=procid, msgid=msgid, message=message, deviations=(*deviations, "sd"))
    app, procid, msgid, sd, is_broken = rest.groups()
    elements, is_unique = _elements(sd) if sd else (None, True)
    checks = (
        ("timestamp", not _STRICT.match(f"<1>1 {stamp} - - - - -") or (stamp != "-" and not _is_date(stamp))),
        ("hostname", len(host) > 255 or not host.isascii()),
        ("app", len(app) > 48 or not app.isascii()),
        ("procid", len(procid) > 128 or not procid.isascii()),
        ("msgid", len(msgid) > 32 or not msgid.isascii()),
        ("sd", is_broken or not is_unique or (sd is not None and not re.fullmatch(_SD_STRICT, sd))),
    )
    deviations += tuple(name for name, is_wrong in checks if is_wrong)
    message = text[rest.end() :]
    return Header(
        number, int(version), _nil(stamp), _nil(host), _nil(app), _nil(procid), _nil(msgid), elements,
        message[1:] if message.startswith(_BOM) else message, deviations=deviations or ("header",),
    )  # fmt: skip


def _legacy(text: str, *, is_relayed: bool) -> Header:
    """RFC 3164 and its relatives: each part is optional."""
    position = 0
    pri: int | None = None
    deviations: tuple[str, ...] = ()
    stamp = host = sequence = None
    found = _PRI.match(text, position)
    if found:
        pri, deviations = _priority(found[1])
        position = found.end()
    begin = position
    found = None if text[position : position + 2] == "20" else _CISCO.match(text, position)
    if found:
        sequence, host = found[1], found[2] or found[3]
        position = found.end(4) if found[4] else found.end()
    found = _STAMP.match(text, position)
    if found:
        stamp = found[1]
        position = found.end()
        if host is None and found[2] is None:
            host, position = _host(text, position)
    elif text[position : position + 1] != "%":
        position = begin
        sequence = host = None
        named = _NAMED.match(text, position)
        if named and (_SURE_HOST if named[1][-1] == ":" else _LIKE_HOST).match(named[1].rstrip(":") + ":"):
            host = named[1].rstrip(":")
            position = named.end()
    head = Header(pri, None, stamp, host, None, None, None, None, "", sequence)
    return _after_host(head, text, position, deviations, is_relayed=is_relayed or stamp is None)


def _host(text: str, position: int) -> tuple[str | None, int]:
    """The host after a time, and where it ends. A word with a colon is one when it is an address, or a tag follows it."""
    named = _HOST.match(text, position)
    if named is None:
        return None, position
    name = named[2] or named[3]
    if named[1]:
        return name.rstrip(":"), named.end()
    if not _NOT_A_HOST.match(name):
        return name, named.end()
    if name[-1] == ":" and (_SURE_HOST.match(name) or (_LIKE_HOST.match(name) and _TAG_NEXT.match(text, named.end()))):
        return name[:-1], named.end()
    return None, position


def _after_host(head: Header, text: str, position: int, deviations: tuple[str, ...], *, is_relayed: bool) -> Header:
    """Read what stands between the host and the message: the sender's own header behind a relay's, a Cisco mnemonic,
    or a tag with or without process id."""
    app = procid = msgid = severity = None
    sequence = head.sequence
    found = _MNEMONIC.match(text, position) if "%" in text[position : position + 20] else None
    if found:  # the mnemonic stays in the message, where people and rules look for it
        sequence, msgid = sequence or found[1], found[2]
        severity = int(found[3]) if head.pri is None else None
        position = found.start(2)
    else:
        found = _TAG.match(text, position)
        if not is_relayed and not (found and found[1]):
            inner = _INNER.match(text, position)
            if inner:
                return _relayed(head, text[inner.end() :])
        if found:
            app, procid = found[1] or found[3], found[2]
            position = found.end()
            if "%" in text[position : position + 20]:
                named = _MNEMONIC.match(text, position)
                msgid = named[2] if named else None
            elif text[position : position + 3] == "[ID":
                named = _SOLARIS.match(text, position)
                if named:
                    msgid, position = named[1], named.end()
    message = text[position:]
    if not found and message[:1] in {" ", "\t"}:  # two blanks are a missing host; more are the text's own
        message = message[2:] if message[:2] == "  " != message[1:3] else message[1:]
    return head._replace(
        app=app,
        procid=procid,
        msgid=msgid,
        message=message.removeprefix(_BOM),
        sequence=sequence,
        severity=severity,
        deviations=deviations,
    )
