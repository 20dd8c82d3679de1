"""What happened, as a sentence: "Ann Keller deleted file Q3 plan", "Tom Ruiz tried to log in to okta". Pure.

The sentence is a list of pieces so that a page can set names apart without ever handling HTML. It is made of the
typed columns only; where they say too little, the event's own message speaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Piece", "sentence", "sentence_text"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text. `kind`: actor, verb, target, place, note or plain."""

    kind: str
    text: str


_PAST: Final = {
    "read": "read", "login": "logged in", "logon": "logged in", "logout": "logged out", "logoff": "logged out",
    "grant": "granted", "send": "sent", "put": "put", "set": "set", "get": "got", "run": "ran", "begin": "began",
    "start": "started", "stop": "stopped", "submit": "submitted", "permit": "permitted", "deny": "denied", "denied": "was denied",
    "copy": "copied", "apply": "applied", "verify": "verified", "modify": "modified", "reset": "reset", "drop": "dropped",
    "ban": "banned", "tag": "tagged", "transfer": "transferred", "view": "viewed", "sso": "signed in to", "assume": "assumed",
    "open": "opened", "push": "pushed to", "add": "added", "void": "voided", "accepted": "accepted", "elevate": "elevated", "sudo": "ran as root",
}  # fmt: skip
_BASE: Final = {
    "login": "log in",
    "logon": "log in",
    "logout": "log out",
    "logoff": "log out",
    "sso": "sign in to",
    "push": "push to",
    "sudo": "run as root",
}
_ALERTS: Final = "muniment.alerts"
_OWN: Final = "muniment"
_OWN_NOUNS: Final = {
    "privacy": "request of erasure",
    "notify": "notice",
    "allowed": "allowed network",
    "risk": "sum of risk",
}
"""What Muniment calls things in its own actions, where it is no word for one of them."""

_INTRANSITIVE: Final = frozenset({"login", "logon", "logout", "logoff"})


def sentence(row: Mapping[str, object]) -> list[Piece]:
    """The sentence of one row.

    >>> row = {"actor_name": "Ann", "action": "file.delete", "outcome": "success", "target_name": "Q3 plan"}
    >>> sentence_text(sentence(row))
    'Ann deleted file Q3 plan'
    >>> sentence_text(sentence({"actor_name": "Tom", "action": "user.login", "outcome": "failure", "dst_host": "vpn"}))
    'Tom tried to log in to vpn'
    """
    if _text(row, "quarantine"):
        return [Piece("note", "Not understood"), Piece("plain", f"({_text(row, 'quarantine')}), sealed as it came")]
    action = _text(row, "action").lower()
    actor = _text(row, "actor_name") or _text(row, "actor_email") or _text(row, "actor_id")
    if _text(row, "source") == _ALERTS:
        return _alert(row, actor, action)
    if not action or not actor:
        return _fallback(row, actor, action)
    noun, _, verb = action.rpartition(".")
    noun = noun.rpartition(".")[2].replace("_", " ")
    verb = verb.replace("_", " ")
    if _text(row, "source") == _OWN:
        noun = _OWN_NOUNS.get(noun, noun)
        noun = _plural(noun) if verb == "list" else noun
    is_failure = _text(row, "outcome") == "failure"
    pieces = [Piece("actor", actor)]
    if _text(row, "on_behalf_of"):
        pieces += [Piece("plain", "on behalf of"), Piece("actor", _text(row, "on_behalf_of"))]
    is_refusal = verb == "denied"  # the action says already how it ended
    pieces.append(Piece("verb", f"tried to {_BASE.get(verb, verb)}" if is_failure and not is_refusal else _past(verb)))
    target = _text(row, "target_name") or _text(row, "target_id")
    place = _text(row, "dst_host") or _text(row, "app")
    if verb in _INTRANSITIVE:
        where = place or target or _text(row, "source")
        pieces += (
            [Piece("plain", "to" if verb in {"login", "logon"} else "of"), Piece("target", where)] if where else []
        )
    elif _text(row, "target_type") == "ledger":  # what Muniment says about itself; its log's long name says nothing
        pieces.append(Piece("plain", f"the {noun}"))
    else:
        pieces += [Piece("plain", noun)] if noun else []
        pieces += [Piece("target", target)] if target and target != actor else []
        if place and place != target:
            pieces += [Piece("plain", "in"), Piece("place", place)]
    detail = _text(row, "status_detail")
    if detail and is_failure:
        pieces.append(Piece("note", detail))
    return pieces


def sentence_text(pieces: list[Piece]) -> str:
    """The pieces as one line."""
    return " ".join(piece.text for piece in pieces)


def _alert(row: Mapping[str, object], actor: str, action: str) -> list[Piece]:
    """An alert is about somebody, who did not make it.

    >>> row = {"source": "muniment.alerts", "action": "alert.create", "target_name": "Ports are scanned", "src_ip": "::1"}
    >>> sentence_text(sentence(row)), sentence_text(sentence({**row, "action": "alert.update", "actor_name": "Tom"}))
    ('Alert Ports are scanned about ::1', 'Alert changed: Ports are scanned about Tom')
    >>> sentence_text(sentence(row | {"message": "Ports are scanned: 3 events; rule by Ann"}))
    'Alert Ports are scanned about ::1 (rule by Ann)'
    """
    author = _text(row, "message").rpartition("; rule by ")[2] if "; rule by " in _text(row, "message") else ""
    title, about = _text(row, "target_name") or _text(row, "message"), actor or _text(row, "src_ip")
    pieces = [Piece("plain", "Alert" if action == "alert.create" else "Alert changed:"), Piece("target", title)]
    pieces += [Piece("plain", "about"), Piece("actor", about)] if about else []
    return [*pieces, Piece("plain", f"(rule by {author})")] if author else pieces


def _fallback(row: Mapping[str, object], actor: str, action: str) -> list[Piece]:
    said = _text(row, "message") or " ".join(
        part for part in (_text(row, "class_name"), _text(row, "activity_name") or action) if part
    )
    pieces = [Piece("actor", actor)] if actor else []
    pieces.append(Piece("plain", said or "An event without words"))
    place = _text(row, "dst_host") or _text(row, "app")
    return [*pieces, Piece("plain", "on"), Piece("place", place)] if place and not actor else pieces


def _plural(noun: str) -> str:
    """
    >>> _plural("key"), _plural("search"), _plural("request of erasure")
    ('keys', 'searches', 'requests of erasure')
    """
    first, space, rest = noun.partition(" of ")
    return f"{first}{'es' if first.endswith(('ch', 's')) else 's'}{space}{rest}"


def _past(verb: str) -> str:
    if verb in _PAST:
        return _PAST[verb]
    if " " in verb:
        first, _, rest = verb.partition(" ")
        return f"{_past(first)} {rest}"
    if verb.endswith("ed"):
        return verb
    if verb.endswith("e"):
        return f"{verb}d"
    if verb.endswith("y") and verb[-2:-1] not in "aeiou":
        return f"{verb[:-1]}ied"
    return f"{verb}ed"


def _text(row: Mapping[str, object], column: str) -> str:
    value = row.get(column)
    return str(value) if value not in (None, "") else ""
