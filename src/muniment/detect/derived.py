"""Columns that only rules have: made of others where a rule asks for one, and of nothing where none does. Pure.

`actor` is the id of who did it, else the name, else the address; the store reads it so. `device` is the device's id or name,
else the kind of browser and system. `src_subnet` is the network of the address an event came from (OCSF's word for a network in
CIDR notation): /24 of IPv4, /64 of IPv6. An attacker has as many addresses in one of these as they like: who rents one
machine gets a /64, and hosts side by side are often in one hand. `account` is who did it as several systems call the same person: the
mail address in lower case where one is known, else `actor`; `target_account` is such an address of whom it was done to, else empty.
`changed_fields` are the names of what differs between the states before and after, apart by spaces; without a state before, all that are after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

import orjson

from muniment.errors import RejectedError
from muniment.patterns import compiled_pattern
from muniment.search.columns import COLUMNS, address_sql
from muniment.sources.sql import quote
from muniment.sources.useragent import describe

__all__ = [
    "ACCOUNT", "ACCOUNT_SQL", "ACTOR", "ACTOR_SQL", "CHANGED", "DERIVED", "DEVICE", "MADE", "SUBNET", "SUBNET_SQL",
    "TARGET_ACCOUNT", "TARGET_ACCOUNT_SQL", "Derived", "account_of", "changed_fields", "check_columns", "device_of", "subnet_of",
]  # fmt: skip

ACTOR: Final = "actor"
DEVICE: Final = "device"
SUBNET: Final = "src_subnet"
ACCOUNT: Final = "account"
CHANGED: Final = "changed_fields"
TARGET_ACCOUNT: Final = "target_account"
ACTOR_SQL: Final = (
    "multiIf(actor_id != '', toString(actor_id), actor_name != '', toString(actor_name), toString(actor_email))"
)
_ADDRESS: Final = r"^[^@\s:]+@[^@\s:]+$"
"""A mail address and nothing else; no `user:anna@example.com`."""
_KEYS: Final = compiled_pattern(r'"([^"\\]{1,100})"\s*:').findall
_is_name: Final = compiled_pattern(r"^[A-Za-z_][\w.-]{0,99}$").search
_is_address = compiled_pattern(_ADDRESS).search


def _lowered_sql(*columns: str, otherwise: str) -> str:
    """The first of these columns that is a mail address, in lower case."""
    found = "".join(f"match({each}, {quote(_ADDRESS)}), lowerUTF8(toString({each})), " for each in columns)
    return f"multiIf({found}{otherwise})"


ACCOUNT_SQL: Final = _lowered_sql("actor_email", "actor_name", "actor_id", otherwise=ACTOR_SQL)
TARGET_ACCOUNT_SQL: Final = _lowered_sql("target_name", "target_id", otherwise="''")
_NAT64: Final = IPv6Network("64:ff9b::/96")
"""All of IPv4 as a NAT64 gateway writes it (RFC 6052): one /64, and yet as many networks as IPv4 has."""


def device_of(user_agent: str) -> str:
    """`Chrome on Windows`; the text itself where nothing is known of it."""
    return describe(user_agent).kind or user_agent


def subnet_of(address: str) -> str:
    """The network of an address; empty for what is no address, or none in particular (`::`).

    >>> subnet_of("203.0.113.7"), subnet_of("::ffff:203.0.113.7"), subnet_of("2001:db8:0:1::7")
    ('203.0.113.0/24', '203.0.113.0/24', '2001:db8:0:1::/64')
    >>> subnet_of("64:ff9b::203.0.113.7"), subnet_of("::"), subnet_of("(erased)")
    ('64:ff9b::cb00:7100/120', '', '')
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    if found.is_unspecified:
        return ""
    if isinstance(found, IPv4Address):
        return f"{IPv4Address(int(found) & ~0xFF)}/24"
    bits = 8 if found in _NAT64 else 64
    return f"{IPv6Address(int(found) >> bits << bits)}/{128 - bits}"


_FIRST_SQL: Final = "tupleElement(IPv6CIDRToRange(events.src_ip, {bits}), 1)"
SUBNET_SQL: Final = (
    "multiIf(events.src_ip IN (toIPv6('::'), toIPv6('::ffff:0.0.0.0')), '', "
    "events.src_ip BETWEEN toIPv6('::ffff:0.0.0.0') AND toIPv6('::ffff:255.255.255.255'), "
    f"concat({address_sql(_FIRST_SQL.format(bits=120))}, '/24'), "
    "events.src_ip BETWEEN toIPv6('64:ff9b::') AND toIPv6('64:ff9b::ffff:ffff'), "
    f"concat(IPv6NumToString({_FIRST_SQL.format(bits=120)}), '/120'), "
    f"concat(IPv6NumToString({_FIRST_SQL.format(bits=64)}), '/64'))"
)
"""What `subnet_of` says, of a row of `events`."""


@dataclass(frozen=True, slots=True)
class Derived:
    """A column made of others. `text` says it for their values, in the order of `of`."""

    of: tuple[str, ...]
    text: Callable[..., str]


def _device(known: Any, named: Any, user_agent: Any) -> str:
    return str(known or named or device_of(str(user_agent)))


def account_of(email: Any, name: Any, id: Any) -> str:
    """Who did it, by the address that several systems know.

    >>> account_of("", "Anna@Example.com", "00u1"), account_of("", "anna", "7")
    ('anna@example.com', '7')
    """
    return _address_of(email, name, id) or str(id or name or email)


def _address_of(*names: Any) -> str:
    return next((str(each).lower() for each in names if each and _is_address(str(each))), "")


def changed_fields(before: Any, after: Any) -> str:
    """The names, with dots where they are nested, of what an event changed.

    >>> changed_fields('{"name": "a", "role": "x"}', '{"name": "b", "role": "x", "more": {"n": 1}}')
    'more.n name'
    >>> changed_fields("", '[{"name": "role", "old": "a", "new": "b"}]')
    'name new old role'
    """
    after_text = str(after)
    if not after_text:
        return ""
    try:
        new = orjson.loads(after_text)
    except orjson.JSONDecodeError:  # it was cut
        return " ".join(sorted(set(_KEYS(after_text))))
    try:
        old = orjson.loads(str(before) or "null")
    except orjson.JSONDecodeError:
        old = None
    if not isinstance(new, dict):
        return " ".join(sorted(_words(new)))
    then, now = dict(_leaves(old)), dict(_leaves(new))
    names = then.keys() | now.keys() if isinstance(old, dict) else now.keys()
    nothing = object()
    return " ".join(sorted(name for name in names if then.get(name, nothing) != now.get(name, nothing)))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, f"{path}.{name}" if path else str(name))
    elif path:
        yield path, value


def _words(value: Any) -> set[str]:
    """All names in it, and its texts that could be one."""
    if isinstance(value, dict):
        return {str(name) for name in value}.union(*map(_words, value.values()))
    if isinstance(value, list):
        return set[str]().union(*map(_words, value))
    return {value} if isinstance(value, str) and len(value) > 1 and _is_name(value) else set()


DERIVED: Final[Mapping[str, Derived]] = {
    DEVICE: Derived(("device_id", "device_name", "user_agent"), _device),
    SUBNET: Derived(("src_ip",), subnet_of),
    CHANGED: Derived(("changes_before", "changes_after"), changed_fields),
    ACCOUNT: Derived(("actor_email", "actor_name", "actor_id"), account_of),
    TARGET_ACCOUNT: Derived(("target_name", "target_id"), _address_of),
}
"""By name: those made here. Values are what `text` says where they are read, live as from history."""

MADE: Final = (ACTOR, *DERIVED)
"""All names that rules know beside the columns of the search."""


def check_columns(names: Iterable[str], file: str) -> None:
    """A rule over typed columns that names one there is not would never match, and nobody would notice."""
    for name in names:
        if name not in COLUMNS and name not in MADE and not name.startswith("record."):
            raise RejectedError(f"there is no column {name!r}", field=file)
