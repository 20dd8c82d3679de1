"""Did any of them succeed? Who was let in from where an alert's refusals came, in its time and the hour after.

One query for a whole list of alerts: logins that succeeded from their addresses or of their accounts, the newest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from muniment.detect.alerts import SOURCE, Alert
from muniment.detect.derived import SUBNET, SUBNET_SQL, subnet_of
from muniment.limits import ADMITTED_ROWS_MAX
from muniment.search.engine import Engine

__all__ = ["Admitted", "admitted", "is_about_refusals"]

_AFTER_US: Final = 3_600_000_000
_PEOPLE: Final = {"actor", "actor_id", "actor_name", "actor_email"}


@dataclass(frozen=True, slots=True)
class Admitted:
    """Logins that succeeded: how many, whose, and the last (microseconds, its index)."""

    count: int
    who: Sequence[str]
    last_us: int
    last_index: int


@dataclass(frozen=True, slots=True)
class _Login:
    index: int
    time_us: int
    address: str
    names: frozenset[str]
    who: str


def is_about_refusals(alert: Alert) -> bool:
    """Were its events, or some of them, refused at a door of which it knows the address, network or account?"""
    return "failure" in alert.of("outcomes") and bool(_about(alert))


def _about(alert: Alert) -> tuple[str, str]:
    """What its events have in common: an address or a network, else an account."""
    group = dict(alert.group)
    if "src_ip" in group:
        return "address", group["src_ip"]
    if SUBNET in group:
        return "network", group[SUBNET]
    return next((("account", value) for name, value in alert.group if name in _PEOPLE), ("", ""))


def admitted(engine: Engine, alerts: Iterable[Alert]) -> Mapping[str, Admitted]:
    """By alert: who was let in; for every alert that is about refusals, so that nobody is an answer too."""
    asked = [alert for alert in alerts if is_about_refusals(alert)]
    if not asked:
        return {}
    networks = {value for kind, value in map(_about, asked) if kind == "network"}
    by_what: dict[tuple[str, str], list[_Login]] = defaultdict(list)
    for login in _logins(engine, asked):
        by_what["address", login.address].append(login)
        if networks:
            by_what["network", subnet_of(login.address)].append(login)
        for name in login.names:
            by_what["account", name].append(login)
    return {alert.uid: _of(alert, by_what.get(_about(alert), ())) for alert in asked}


def _of(alert: Alert, logins: Sequence[_Login]) -> Admitted:
    mine = [each for each in logins if alert.first_us <= each.time_us <= alert.last_us + _AFTER_US]
    who = tuple(dict.fromkeys(each.who for each in mine if each.who))
    return Admitted(len(mine), who, mine[0].time_us if mine else 0, mine[0].index if mine else -1)


def _logins(engine: Engine, alerts: Sequence[Alert]) -> list[_Login]:
    about = [_about(alert) for alert in alerts]
    parameters = {
        "addresses": sorted({_mapped(value) for kind, value in about if kind == "address" and _is_address(value)}),
        "accounts": sorted({value for kind, value in about if kind == "account"}),
        "networks": sorted({value for kind, value in about if kind == "network"}),
        "first": min(alert.first_us for alert in alerts),
        "last": max(alert.last_us for alert in alerts) + _AFTER_US,
        "own": SOURCE,
    }
    sql = (
        "SELECT `index`, toUnixTimestamp64Micro(time), toString(src_ip), toString(actor_id), toString(actor_name), "
        "toString(actor_email) FROM events WHERE outcome = 'success' AND class_name = 'Authentication' "
        "AND activity_id = 1 AND source != {own:String} "
        "AND time >= fromUnixTimestamp64Micro({first:Int64}, 'UTC') AND time <= fromUnixTimestamp64Micro({last:Int64}, 'UTC') "
        f"AND (src_ip IN {{addresses:Array(IPv6)}} OR {SUBNET_SQL} IN {{networks:Array(String)}} "
        "OR actor_id IN {accounts:Array(String)} "
        "OR actor_name IN {accounts:Array(String)} OR actor_email IN {accounts:Array(String)}) "
        f"ORDER BY time DESC LIMIT {ADMITTED_ROWS_MAX}"
    )
    found = []
    for index, time_us, address, *names in engine.query(sql, parameters).rows:
        id, name, email = map(str, names)
        plain = str(address).removeprefix("::ffff:")
        found.append(_Login(int(index), int(time_us), plain, frozenset({id, name, email}) - {""}, name or id or email))
    return found


def _is_address(value: str) -> bool:
    try:
        ip_address(value)
    except ValueError:  # an alert's group is text, and of an erased person not even that
        return False
    return True


def _mapped(address: str) -> str:
    return address if ":" in address else f"::ffff:{address}"
