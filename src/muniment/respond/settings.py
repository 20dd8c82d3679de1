"""The file of channels and routes (`notify` setting), as TOML.

    allow = ["10.1.0.0/16"]              # inside networks that may be posted to

    [channels.soc]
    kind = "slack"                       # webhook, slack, teams, mail, syslog
    url_file = "/etc/muniment/soc.url"   # secrets stand in files of their own

    [channels.siem]
    kind = "syslog"
    host = "siem.example.com"
    port = 6514
    transport = "tls"                    # udp, tcp, tls
    format = "cef"                       # rfc5424, cef

    [actions.idp]                        # who carries orders out; signed as webhooks are
    url = "https://idp.example.com/hooks/end-sessions"
    secrets_file = "/etc/muniment/idp.secret"
    for = ["sessions.end"]               # or block.made, block.undone, block.expired, with *

    [[routes]]
    name = "by day"                      # as pages show it
    channels = ["soc"]
    severity = "high"                    # and above
    rules = ["*"]                        # titles of rules, with *
    sources = ["okta", "vpn-*"]          # where the events came from, with *
    from = "08:00"
    to = "18:00"
    zone = "Europe/Zurich"
    days = ["mon", "tue", "wed", "thu", "fri"]

A mistake is told with the place in the file; the server does not start with a half of it.
"""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from muniment.errors import AuditError, ConfigError
from muniment.respond.channels.action import Action
from muniment.respond.channels.egress import Egress
from muniment.respond.channels.mail import Mail, MailSettings
from muniment.respond.channels.syslog import Syslog
from muniment.respond.channels.webhook import Slack, Teams, Webhook
from muniment.respond.notice import Channel
from muniment.respond.routes import EVERY_DAY, Route

__all__ = ["NotifySettings", "read_notify_settings"]

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """Who can be told, who is told of what, and who carries orders out."""

    channels: Mapping[str, Channel] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    actions: Mapping[str, Action] = field(default_factory=dict)


def read_notify_settings(path: Path) -> NotifySettings:
    """The channels and routes of a file.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; the text says what and where.
    """
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", setting="notify") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", setting="notify") from error
    where = "allow"
    try:
        egress = Egress([ip_network(text) for text in given.get("allow", [])])
        channels: dict[str, Channel] = {}
        for name, each in given.get("channels", {}).items():
            where = f"channels.{name}"
            channels[name] = _channel(dict(each), egress)
        actions: dict[str, Action] = {}
        for name, each in given.get("actions", {}).items():
            where = f"actions.{name}"
            if name in channels:
                raise ValueError("there is a channel of that name")
            actions[name] = _action(dict(each), egress)
        routes = []
        for number, each in enumerate(given.get("routes", []), 1):
            where = f"routes {number}"
            routes.append(
                _route(
                    str(each.get("name", f"route {number}")), {k: v for k, v in each.items() if k != "name"}, channels
                )
            )
    except (AuditError, KeyError, TypeError, ValueError, OSError) as error:
        raise ConfigError(f"{path}, {where}: {_said(error)}", setting="notify") from error
    return NotifySettings(channels, tuple(routes), actions)


def _said(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)


def _secret(each: dict[str, Any], name: str) -> str:
    """A value from the file that `<name>_file` names."""
    if name in each:
        raise ValueError(f"secrets stand in files of their own: give {name}_file")
    return Path(each.pop(f"{name}_file")).read_text("utf-8").strip()


def _channel(each: dict[str, Any], egress: Egress) -> Channel:
    kind = each.pop("kind")
    made: Channel
    if kind == "webhook":
        made = Webhook(egress, each.pop("url"), _secret(each, "secrets").split())
    elif kind in {"slack", "teams"}:
        made = (Slack if kind == "slack" else Teams)(egress, _secret(each, "url"))
    elif kind == "mail":
        password = _secret(each, "password") if "password_file" in each else ""
        made = Mail(
            MailSettings(
                each.pop("host"), int(each.pop("port", 587)), each.pop("sender"), tuple(each.pop("recipients")),
                each.pop("tls", "starttls"), each.pop("user", ""), password,
            )
        )  # fmt: skip
    elif kind == "syslog":
        made = Syslog(
            each.pop("host"), int(each.pop("port")), transport=each.pop("transport", "tls"),
            hostname=each.pop("hostname", socket.gethostname()), format=each.pop("format", "rfc5424"),
        )  # fmt: skip
    else:
        raise ValueError(f"kind must be webhook, slack, teams, mail or syslog, got {kind!r}")
    if each:
        raise ValueError(f"there is no {next(iter(each))!r} for a channel of the kind {kind}")
    return made


def _action(each: dict[str, Any], egress: Egress) -> Action:
    types = each.pop("for")
    made = Action(
        egress, each.pop("url"), _secret(each, "secrets").split(), [types] if isinstance(types, str) else types
    )
    if each:
        raise ValueError(f"there is no {next(iter(each))!r} for an action")
    return made


def _route(name: str, each: dict[str, Any], channels: Mapping[str, Channel]) -> Route:
    wanted = tuple(each.pop("channels"))
    if unknown := [channel for channel in wanted if channel not in channels]:
        raise ValueError(f"there is no channel {unknown[0]!r}")
    days = each.pop("days", None)
    made = Route(
        name, wanted, each.pop("severity", "low"), _patterns(each.pop("rules", ["*"])), _patterns(each.pop("sources", ["*"])),
        frozenset(_DAYS.index(day.lower()[:3]) for day in days) if days else EVERY_DAY,
        _minute(each.pop("from", "00:00")), _minute(each.pop("to", "00:00")), ZoneInfo(each.pop("zone", "UTC")),
    )  # fmt: skip
    if each:
        raise ValueError(f"there is no {next(iter(each))!r} for a route")
    return made


def _patterns(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise ValueError("rules and sources are lists of texts")
    return tuple(given)


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes or 0)
