"""An application's words to the JSON text of one event. Never refuses a value: what JSON cannot say becomes text.

The server turns away lone surrogates, NaN, keys that stand twice and deep nesting; an audit event must not be lost to
such a detail, so values are brought into form here. The text starts with a brace and has at least one field, so the
spool can put its counter (`sq`) in front.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import enum
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from muniment.sdk.context import EVENT_FIELDS
from muniment.sdk.limits import DEPTH_MAX

__all__ = ["Actor", "ActorLike", "Outcome", "Target", "TargetLike", "build_event", "encode", "plain", "time_text"]

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # `json.dumps` would make one a call

Outcome: TypeAlias = Literal["success", "failure", "denied", "unknown"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it. `type` is user, service, or your own word."""

    id: str
    type: str = "user"
    name: str | None = None
    email: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What it was done to."""

    id: str
    type: str | None = None
    name: str | None = None


ActorLike: TypeAlias = Actor | Mapping[str, object] | str
TargetLike: TypeAlias = Target | Mapping[str, object] | str


def build_event(
    action: str,
    *,
    event_id: str,
    occurred_ns: int,
    surroundings: Mapping[str, object],
    targets: Iterable[TargetLike],
    fields: Mapping[str, object],
) -> dict[str, object]:
    """The event as a plain dict: ids and action first, then what was said, then the surroundings."""
    event: dict[str, object] = {"id": event_id, "action": str(action), "occurred_at": time_text(occurred_ns)}
    for name, value in fields.items():
        if value is not None:
            event[name] = _party(value) if name in {"actor", "on_behalf_of"} else plain(value)
    found = [_party(target) for target in ([targets] if isinstance(targets, str | Mapping | Target) else targets)]
    if found:
        event["targets"] = found
    around: dict[str, object] = {}
    for name, value in surroundings.items():
        if name not in EVENT_FIELDS:
            around[name] = plain(value)
        elif name not in event:
            event[name] = _party(value) if name in {"actor", "on_behalf_of"} else plain(value)
    said = event.get("context")
    if around or isinstance(said, dict):
        event["context"] = around | (said if isinstance(said, dict) else {})
    return event


def _party(value: object) -> object:
    if isinstance(value, Actor | Target):
        names = [field.name for field in dataclasses.fields(value)]
        pairs = [(name, getattr(value, name)) for name in names]
        return {name: plain(one) for name, one in pairs if one is not None}
    return plain(value) if isinstance(value, Mapping) else {"id": str(value)}


def encode(event: Mapping[str, object]) -> bytes:
    """The JSON text of what `build_event` made; lone surrogates become question marks."""
    return _to_json(event).encode("utf-8", "replace")


def plain(value: object, depth: int = 0) -> object:
    """`value` as JSON can say it.

    >>> plain({1: float("nan"), "when": datetime.date(2026, 1, 2), "of": {"b", "a"}, "raw": b"\\xff"})
    {'1': 'nan', 'when': '2026-01-02', 'of': ['a', 'b'], 'raw': '/w=='}
    """
    if value is None or type(value) is str:
        return value
    if isinstance(value, enum.Enum):
        return plain(value.value, depth)
    if isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else _text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth >= DEPTH_MAX:
        return _text(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_text(key): plain(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one, depth + 1) for one in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(one, depth + 1) for one in value), key=repr)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return _text(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # an object's own __str__ may do anything, and the event matters more
        return f"<{type(value).__name__}>"


def time_text(ns: int) -> str:
    """RFC 3339 in UTC with microseconds.

    >>> time_text(1_795_415_761_123_456_789)
    '2026-11-23T06:36:01.123456Z'
    """
    seconds, rest = divmod(ns, 1_000_000_000)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment.isoformat()[:19]}.{rest // 1000:06d}Z"
