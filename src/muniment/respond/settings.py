"""The file of channels and routes (`notify` setting), as TOML.

    allow = ["10.1.0.0/16"]              # inside networks that may be posted to

    [channels.soc]
    kind = "slack"                       # webhook, slack, teams, mail, syslog
    at_most = 20                         # notices in ten minutes; more are one summary. 0: all. Default for slack, teams, mail: 20
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

A mistake is told with file, line, column and how to mend it; the server does not start with a half of it.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from muniment.limits import OUTBOX_STORM_AT_MOST
from muniment.respond.channels.action import Action
from muniment.respond.channels.egress import Egress
from muniment.respond.channels.mail import Mail, MailSettings
from muniment.respond.channels.syslog import Syslog
from muniment.respond.channels.webhook import Slack, Teams, Webhook
from muniment.respond.notice import SEVERITIES, Channel, Severity
from muniment.respond.order import ORDER_TYPES, is_for
from muniment.respond.routes import EVERY_DAY, Route
from muniment.toml_file import Table, read_toml

__all__ = ["NotifySettings", "read_notify_settings"]

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_KINDS: Final = ("webhook", "slack", "teams", "mail", "syslog")
_FOR_PEOPLE: Final = ("slack", "teams", "mail")
_HOUR: Final = re.compile(r"([01]?[0-9]|2[0-3])(?::([0-5][0-9]))?")


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """Who can be told, who is told of what, and who carries orders out."""

    channels: Mapping[str, Channel] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    actions: Mapping[str, Action] = field(default_factory=dict)
    at_most: Mapping[str, int] = field(default_factory=dict)


def read_notify_settings(path: Path) -> NotifySettings:
    """The channels and routes of a file.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; the text says where, what, and how to mend it.
    """
    return read_toml(path, "notify", _settings)


def _settings(file: Table) -> NotifySettings:
    egress = Egress(_networks(file))
    channels: dict[str, Channel] = {}
    at_most: dict[str, int] = {}
    for name, each in file.tables("channels"):
        channels[name], most = _channel(each, egress)
        if most:
            at_most[name] = most
    actions: dict[str, Action] = {}
    for name, each in file.tables("actions"):
        if name in channels:
            raise file.mistake("actions", "there is a channel of that name", "call one of the two otherwise", name)
        actions[name] = _action(each, egress)
    routes = tuple(_route(each, f"route {n}", channels) for n, each in enumerate(file.rows("routes"), 1))
    file.done()
    return NotifySettings(channels, routes, actions, at_most)


def _networks(file: Table) -> list[IPv4Network | IPv6Network]:
    found = []
    for number, text in enumerate(file.texts("allow", [], '["10.1.0.0/16"]')):
        try:
            found.append(ip_network(text))
        except ValueError as error:
            raise file.mistake("allow", str(error), f"write {_as_network(text)}", number) from error
    return found


def _as_network(text: str) -> str:
    try:
        return f"{ip_network(text, strict=False)}, or one address"
    except ValueError:
        return "a network such as 10.1.0.0/16, or an address"


def _secret(table: Table, name: str) -> str:
    """A value from the file that `<name>_file` names."""
    if table.raw(name) is not None:
        raise table.mistake(name, "secrets stand in files of their own", f"write it to a file and give {name}_file")
    return table.content(f"{name}_file", f"/etc/muniment/{name}")


def _channel(table: Table, egress: Egress) -> tuple[Channel, int]:
    """The channel, and how many notices it is told of one by one in a while; 0: all."""
    kind = table.word("kind", _KINDS)
    most = table.number("at_most", 0, 1_000, OUTBOX_STORM_AT_MOST if kind in _FOR_PEOPLE else 0)
    made: Channel
    with table.checking({"secrets": "secrets_file", "url": "url" if kind == "webhook" else "url_file"}):
        if kind == "webhook":
            made = Webhook(egress, table.text("url", example='"https://..."'), _secret(table, "secrets").split())
        elif kind in {"slack", "teams"}:
            made = (Slack if kind == "slack" else Teams)(egress, _secret(table, "url"))
        elif kind == "mail":
            made = _mail(table)
        else:
            made = _syslog(table)
    table.done()
    return made, most


def _mail(table: Table) -> Mail:
    tls: Any = table.word("tls", ("starttls", "tls", "none"), "starttls")
    password = _secret(table, "password") if "password_file" in table or table.raw("password") is not None else ""
    return Mail(
        MailSettings(
            table.text("host", example='"mail.example.com"'), table.number("port", 1, 65_535, 587),
            table.text("sender", example='"muniment@example.com"'),
            tuple(table.texts("recipients", example='["duty@example.com"]')), tls, table.text("user", ""), password,
        )
    )  # fmt: skip


def _syslog(table: Table) -> Syslog:
    transport: Any = table.word("transport", ("tls", "tcp", "udp"), "tls")
    format: Any = table.word("format", ("rfc5424", "cef"), "rfc5424")
    return Syslog(
        table.text("host", example='"siem.example.com"'), table.number("port", 1, 65_535), transport=transport,
        hostname=table.text("hostname", socket.gethostname()), format=format,
    )  # fmt: skip


def _action(table: Table, egress: Egress) -> Action:
    is_one = isinstance(table.raw("for"), str)
    types = [table.text("for")] if is_one else table.texts("for", example='["sessions.end"]')
    for number, each in enumerate(types):
        if not any(is_for(known, [each]) for known in ORDER_TYPES):
            fix = f"there are {', '.join(ORDER_TYPES)}, with *"
            raise table.mistake("for", f"got {each!r}", fix, *(() if is_one else (number,)))
    with table.checking({"secrets": "secrets_file"}):
        made = Action(egress, table.text("url", example='"https://..."'), _secret(table, "secrets").split(), types)
    table.done()
    return made


def _route(table: Table, number: str, channels: Collection[str]) -> Route:
    name = table.text("name", number)
    wanted = tuple(table.texts("channels", example='["soc"]'))
    for n, channel in enumerate(wanted):
        if channel not in channels:
            fix = f"there are {', '.join(channels)}" if channels else "begin one with [channels.NAME]"
            raise table.mistake("channels", f"there is no channel {channel!r}", fix, n)
    made = Route(
        name, wanted, cast("Severity", table.word("severity", SEVERITIES, "low")),
        tuple(table.texts("rules", ["*"], '["*"]')), tuple(table.texts("sources", ["*"], '["okta", "vpn-*"]')),
        _days(table), _minute(table, "from"), _minute(table, "to"), _zone(table),
    )  # fmt: skip
    table.done()
    return made


def _days(table: Table) -> frozenset[int]:
    days = table.texts("days", [], '["mon", "tue"]')
    for number, day in enumerate(days):
        if day.lower()[:3] not in _DAYS:
            raise table.mistake("days", f"got {day!r}", f"there are {', '.join(_DAYS)}", number)
    return frozenset(_DAYS.index(day.lower()[:3]) for day in days) or EVERY_DAY


def _minute(table: Table, key: str) -> int:
    text = table.text(key, "00:00", '"08:00"')
    found = _HOUR.fullmatch(text)
    if not found:
        raise table.mistake(key, f"got {text!r}", "write a time of day from 00:00 to 23:59")
    return int(found[1]) * 60 + int(found[2] or 0)


def _zone(table: Table) -> ZoneInfo:
    name = table.text("zone", "UTC", '"Europe/Zurich"')
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise table.mistake("zone", f"there is no time zone {name!r}", "write one as Europe/Zurich or UTC") from error
