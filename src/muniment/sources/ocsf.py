"""A row of typed columns as an OCSF 1.8 event object of the row's class. Pure.

Columns go to the attributes that the class has; what the class demands and the source did not say is filled with
"unknown" rather than left out, so that every object is valid against the published schema. What no attribute holds
stands under `unmapped`, the record itself under `raw_data`.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from muniment.sources.ocsf_schema import VERSION, OcsfClass, classes, has_attribute, verdict_names

__all__ = ["to_ocsf"]

_STATUS = {"success": (1, "Success"), "failure": (2, "Failure")}
_USER_TYPES = {"user": (1, "User"), "admin": (2, "Admin"), "system": (3, "System"), "service": (4, "Service")}
_EMAIL = re.compile(r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~.-]+@[a-zA-Z0-9-]+\.[a-zA-Z0-9.-]+")
_HOST = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,252}[a-zA-Z0-9])?")
_UNKNOWN = "unknown"
_GROUPS = ("group", "groups", "usergroup", "team", "organization", "org", "role")
_METHODS = "get post put delete patch head options trace connect"

Row = Mapping[str, object]


def to_ocsf(row: Row) -> dict[str, Any]:
    """The OCSF object of one row of `events`."""
    known = classes().get(_number(row, "class_uid")) or classes()[0]
    activity = _number(row, "activity_id")
    if activity not in known.activities:
        activity = 99
    event: dict[str, Any] = {
        "activity_id": activity,
        "activity_name": known.activities[activity] if activity != 99 else _text(row, "action") or "Other",
        "category_uid": known.uid // 1000,
        "class_uid": known.uid,
        "class_name": known.caption,
        "type_uid": known.uid * 100 + activity,
        "time": _millis(row.get("time")),
        "severity_id": _number(row, "severity_id"),
        "metadata": _metadata(row),
    }
    status_id, status = _STATUS.get(_text(row, "outcome"), (0, "Unknown"))
    event |= {"status_id": status_id, "status": status}
    _put(event, "status_detail", _text(row, "status_detail"))
    _put(event, "message", _text(row, "message"))
    _put(event, "raw_data", _text(row, "record"))
    actor = _actor(row)
    if known.uid == 3002:
        # OCSF: the user who logs on is `user`; `actor` is who asked for it, so the person goes there once.
        event["user"] = actor.pop("user", None) or {"name": _UNKNOWN}
    for name, value in (
        ("actor", actor),
        ("src_endpoint", _source(row)),
        ("dst_endpoint", _host_of(row)),
        ("device", _device(row)),
        ("http_request", _pruned({"user_agent": _text(row, "user_agent")})),
        ("session", _pruned({"uid": _text(row, "session_id")})),
    ):
        if value and has_attribute(known.uid, name):
            event[name] = value
    needed = _NEEDED.get(known.uid)
    if needed:
        needed(event, row)
    unmapped = _unmapped(event, row, known)
    if unmapped:
        event["unmapped"] = unmapped
    return event


def _metadata(row: Row) -> dict[str, Any]:
    product = _text(row, "format") or _text(row, "source") or "unknown"
    metadata: dict[str, Any] = {
        "version": VERSION,
        "product": {"name": product, "vendor_name": _text(row, "vendor") or product},
    }
    _put(metadata, "uid", _text(row, "id"))
    _put(metadata, "log_provider", _text(row, "source"))
    _put(metadata, "event_code", _text(row, "action"))
    _put(metadata, "correlation_uid", _text(row, "request_id"))
    if row.get("time"):
        metadata["original_time"] = str(row["time"])
    if row.get("received_at"):
        metadata["logged_time"] = _millis(row["received_at"])
    if row.get("index") is not None:
        metadata["sequence"] = _number(row, "index")
    return metadata


def _user(uid: str, name: str, email: str, kind: str = "") -> dict[str, Any]:
    user = _pruned({"uid": uid, "name": name or (uid and email)})
    if _EMAIL.fullmatch(email):
        user["email_addr"] = email
        user.setdefault("name", email)
    if user and kind:
        type_id, caption = _USER_TYPES.get(kind.lower(), (99, kind))
        user |= {"type_id": type_id, "type": caption}
    return user


def _actor(row: Row) -> dict[str, Any]:
    user = _user(_text(row, "actor_id"), _text(row, "actor_name"), _text(row, "actor_email"), _text(row, "actor_type"))
    actor: dict[str, Any] = _pruned({"user": user, "app_name": _text(row, "app")})
    if _text(row, "session_id"):
        actor["session"] = {"uid": _text(row, "session_id")}
    _put(actor, "invoked_by", _text(row, "on_behalf_of"))
    return actor


def _source(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    raw = row.get("src_ip")
    if raw:
        try:
            address = ipaddress.ip_address(str(raw))
        except ValueError:
            return found
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        if int(address):
            found["ip"] = str(address)
            if len(_text(row, "src_country")) == 2:
                found["location"] = {"country": _text(row, "src_country").upper()}
    return found


def _host_of(row: Row) -> dict[str, Any]:
    return _host(_text(row, "dst_host"))


def _host(name: str) -> dict[str, Any]:
    if not name:
        return {}
    return {"hostname": name} if _HOST.fullmatch(name) else {"name": name}


def _device(row: Row) -> dict[str, Any]:
    host = _text(row, "dst_host")
    device = _pruned({"uid": _text(row, "device_id"), "name": _text(row, "device_name")})
    if not device:
        device = _host(host)
    return {**device, "type_id": 0} if device else {}


def _target(row: Row) -> dict[str, Any]:
    name, uid = _text(row, "target_name"), _text(row, "target_id")
    found = _pruned({"name": name, "uid": uid, "type": _text(row, "target_type")})
    if not (name or uid):
        found["name"] = _text(row, "target_type") or _noun(row) or _UNKNOWN
    return found


def _noun(row: Row) -> str:
    return _text(row, "action").rpartition(".")[0]


def _target_user(row: Row) -> dict[str, Any]:
    name, uid = _text(row, "target_name"), _text(row, "target_id")
    email = next((text for text in (name, uid) if _EMAIL.fullmatch(text)), "")
    return _user(uid, name, email) or {"name": _UNKNOWN}


def _need_authentication(event: dict[str, Any], row: Row) -> None:
    if event["activity_id"] == 7 and (_text(row, "target_name") or _text(row, "target_id")):
        event["actor"] = {**event.get("actor", {}), "user": event["user"]}
        event["user"] = _target_user(row)
    service = _text(row, "app") or _text(row, "target_name") or _text(row, "source")
    if service or "dst_endpoint" not in event:
        event["service"] = {"name": service or _UNKNOWN}


def _need_user(event: dict[str, Any], row: Row) -> None:
    event["user"] = _target_user(row)


def _need_access(event: dict[str, Any], row: Row) -> None:
    is_privilege = _text(row, "target_type") in ("role", "permission", "privilege")
    role = _text(row, "target_name") if is_privilege else ""
    event["privileges"] = [role or _gained(row) or _text(row, "status_detail") or _noun(row) or _UNKNOWN]
    event["user"] = {"name": _UNKNOWN} if role else _target_user(row)


def _gained(row: Row) -> str:
    """The group, role or right that somebody got or lost: what the record says of it, where that is a name and no object."""
    text = _text(row, "changes_after") or _text(row, "changes_before")
    return "" if text[:1] in ("{", "[") else text


def _need_group(event: dict[str, Any], row: Row) -> None:
    if event["activity_id"] in (3, 4) and _text(row, "target_type").lower() not in _GROUPS:
        event["group"] = {"name": _gained(row) or _UNKNOWN}
        event["user"] = _target_user(row)
    else:
        event["group"] = _target(row)


def _need_entity(event: dict[str, Any], row: Row) -> None:
    event["entity"] = _target(row)


def _need_resources(event: dict[str, Any], row: Row) -> None:
    event["web_resources"] = [_target(row)]


def _need_app(event: dict[str, Any], row: Row) -> None:
    event["app"] = {"name": _text(row, "target_name") or _text(row, "app") or _UNKNOWN}


def _need_api(event: dict[str, Any], row: Row) -> None:
    operation = _text(row, "action") or _UNKNOWN
    event["api"] = {"operation": operation}
    if _text(row, "app"):
        event["api"]["service"] = {"name": _text(row, "app")}
    if _text(row, "request_id"):
        event["api"]["request"] = {"uid": _text(row, "request_id")}
    _need_people(event, row)
    if _text(row, "target_name") or _text(row, "target_id"):
        event["resources"] = [_target(row)]


def _need_people(event: dict[str, Any], row: Row) -> None:
    event.setdefault("actor", {"user": {"name": _UNKNOWN}})
    event.setdefault("src_endpoint", {"name": _UNKNOWN})


def _need_datastore(event: dict[str, Any], row: Row) -> None:
    _need_people(event, row)
    event["database"] = {"name": _text(row, "target_name") or _text(row, "dst_host") or _UNKNOWN, "type_id": 0}


def _need_host(event: dict[str, Any], row: Row) -> None:
    event.setdefault("actor", {"user": {"name": _UNKNOWN}})
    event.setdefault("device", {"name": _UNKNOWN, "type_id": 0})


def _need_file(event: dict[str, Any], row: Row) -> None:
    _need_host(event, row)
    path = _text(row, "target_name") or _text(row, "target_id") or _UNKNOWN
    event["file"] = {"name": path.rsplit("/", 1)[-1] or path, "path": path, "type_id": 0}


def _need_process(event: dict[str, Any], row: Row) -> None:
    _need_host(event, row)
    process: dict[str, Any] = {"uid": _text(row, "target_id") or _text(row, "session_id") or _UNKNOWN}
    _put(process, "cmd_line", _text(row, "target_name"))
    if _text(row, "on_behalf_of"):
        process["user"] = {"name": _text(row, "on_behalf_of")}
    event["process"] = process


def _need_job(event: dict[str, Any], row: Row) -> None:
    event.setdefault("device", {"name": _UNKNOWN, "type_id": 0})
    event["job"] = {"name": _text(row, "target_name") or _text(row, "target_id") or _UNKNOWN}


def _need_finding(event: dict[str, Any], row: Row) -> None:
    title = _text(row, "target_name") or _text(row, "message") or _text(row, "action") or _UNKNOWN
    event |= {"status_id": 1, "status": "New"}  # a finding's status is its handling, not an outcome
    event["finding_info"] = {"title": title, "uid": _text(row, "target_id") or _text(row, "id") or _UNKNOWN}


_STATES = {"open": (1, "New"), "contained": (2, "In Progress"), "closed": (5, "Closed")}


def _need_incident(event: dict[str, Any], row: Row) -> None:
    """A case as its own record tells it: whose it is, how it stands and what it was found to be."""
    told = _metadata_of(_text(row, "record"))
    title = _text(row, "target_name") or _text(row, "message") or _text(row, "action") or _UNKNOWN
    status_id, status = _STATES.get(str(told.get("state", "")), (1, "New"))
    owner = str(told.get("owner") or "")
    if status_id == 1 and owner:
        status_id, status = 2, "In Progress"
    event |= {"status_id": status_id, "status": status}
    event["finding_info_list"] = [{"title": title, "uid": _text(row, "target_id") or _text(row, "id") or _UNKNOWN}]
    event |= {"assignee": {"name": owner}} if owner else {"assignee_group": {"name": "nobody yet"}}
    verdicts = verdict_names()
    if (slug := str(told.get("verdict") or "")) in verdicts:
        event["verdict_id"], event["verdict"] = verdicts[slug]


def _metadata_of(record: str) -> dict[str, Any]:
    try:
        found = json.loads(record)["metadata"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def _need_log(event: dict[str, Any], row: Row) -> None:
    event["log_name"] = _text(row, "target_name") or _text(row, "source") or _UNKNOWN
    event.pop("http_request", None)


def _need_endpoint(event: dict[str, Any], row: Row) -> None:
    if "dst_endpoint" not in event:
        event.setdefault("src_endpoint", {"name": _UNKNOWN})


def _need_http(event: dict[str, Any], row: Row) -> None:
    _need_endpoint(event, row)
    request = event.setdefault("http_request", {})
    verb = _text(row, "action").rpartition(".")[2]
    if verb in _METHODS.split():
        request["http_method"] = verb.upper()
    if _text(row, "target_name"):
        request["url"] = {"path": _text(row, "target_name")}
    status = _text(row, "status_detail")
    if status.isdigit() and len(status) == 3:
        event["http_response"] = {"code": int(status)}


def _need_dns(event: dict[str, Any], row: Row) -> None:
    _need_endpoint(event, row)
    if _text(row, "target_name"):
        event["query"] = {"hostname": _text(row, "target_name")}


def _need_email(event: dict[str, Any], row: Row) -> None:
    sender, recipient = _text(row, "actor_email"), _text(row, "target_name")
    mail: dict[str, Any] = {}
    if _EMAIL.fullmatch(sender):
        mail["from"] = sender
    if _EMAIL.fullmatch(recipient):
        mail["to"] = [recipient]
    # OCSF: a mail has a sender or a recipient; `.invalid` (RFC 2606) is nobody's domain.
    event["email"] = mail or {"from": f"{_UNKNOWN}@{_UNKNOWN}.invalid"}
    event["direction_id"] = 0


_NEEDED: Mapping[int, Callable[[dict[str, Any], Row], None]] = {
    1001: _need_file,
    1006: _need_job,
    1007: _need_process,
    1008: _need_log,
    2004: _need_finding,
    2005: _need_incident,
    3001: _need_user,
    3002: _need_authentication,
    3003: _need_access,
    3004: _need_entity,
    3005: _need_access,
    3006: _need_group,
    4001: _need_endpoint,
    4002: _need_http,
    4003: _need_dns,
    4004: _need_endpoint,
    4007: _need_endpoint,
    4009: _need_email,
    6001: _need_resources,
    6002: _need_app,
    6003: _need_api,
    6005: _need_datastore,
}
"""By class: fill what the class requires from the columns."""


def _unmapped(event: Mapping[str, Any], row: Row, known: OcsfClass) -> dict[str, Any]:
    """Columns that the class has no place for."""
    kept: dict[str, Any] = {}
    for column in ("reason", "trace_id", "changes_before", "changes_after", "on_behalf_of", "quarantine", "drill"):
        text = _text(row, column)
        if not text or (column == "on_behalf_of" and "invoked_by" in event.get("actor", {})):
            continue
        try:
            kept[column] = json.loads(text) if column.startswith("changes_") else text
        except ValueError:
            kept[column] = text
    if not has_attribute(known.uid, "src_endpoint") and _source(row):
        kept["src_ip"] = _source(row)["ip"]
    if "user" not in event.get("actor", {}) and known.uid != 3002:
        user = _user(_text(row, "actor_id"), _text(row, "actor_name"), _text(row, "actor_email"))
        if user:
            kept["actor_user"] = user
    if known.uid == 0 and (_text(row, "target_name") or _text(row, "target_id")):
        kept["target"] = _target(row)
    return kept


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)


def _number(row: Row, name: str) -> int:
    value = row.get(name)
    return value if isinstance(value, int) else 0


def _millis(value: object) -> int:
    """Milliseconds since 1970 of a datetime (UTC when naive), or of integer nanoseconds."""
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return (aware - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
    if isinstance(value, str):
        try:
            return _millis(dt.datetime.fromisoformat(value))
        except ValueError:
            return 0
    return value // 1_000_000 if isinstance(value, int) else 0


def _pruned(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _put(target: dict[str, Any], name: str, value: str) -> None:
    if value:
        target[name] = value
