"""Which alerts are about the same, so that people see them as one card and hear of them as of one thing. Pure.

What is open about the same address, account or other group belongs together. A network takes in what was found of single
addresses in it; what is graver than what was found of the network stands alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

__all__ = ["Subject", "gravity", "near", "together"]

_PLACES: Final = {"src_ip", "address", "dst_host", "source"}
"""A group of no other names is about an address, wherever it was seen."""
_WIDTHS: Final = {4: (24,), 6: (64, 120)}
"""How wide a network is that rules count by (`src_subnet`); 120 bits where IPv6 spells an IPv4 address."""
_GRAVITY: Final = {"critical": 4, "high": 3, "medium": 2, "low": 1}


@dataclass(frozen=True, slots=True)
class Subject:
    """What one alert is about, whoever holds it."""

    uid: str
    group: Mapping[str, str]
    level: str
    state: str
    drill: str

    @property
    def is_open(self) -> bool:
        """Can others be put to it?"""
        return bool(self.group) and self.state in {"new", "in_progress"}


def gravity(level: str) -> int:
    """Levels in an order; 0: informational, or none of Sigma's."""
    return _GRAVITY.get(level, 0)


Group = tuple[tuple[str, str], ...]
"""What an alert is about, by name."""


def near(groups: Sequence[Group], some: Iterable[int]) -> list[int]:
    """The positions of all open ones that `together` could put to one of `some`, and of those: few of many, so that who asks
    about a new alert need not put all together.
    """
    about = [_about(group) for group in groups]
    places = frozenset[str]().union(*(about[at].networks for at in some))
    values = {about[at].values for at in some}
    if places:
        values |= {each.values for each in about if not places.isdisjoint(each.networks)}
    return [at for at, each in enumerate(about) if each.values in values]


class _About(NamedTuple):
    """What a group says, however it calls it; the networks it is in, or that it is."""

    values: tuple[str, ...]
    networks: frozenset[str]


@lru_cache(maxsize=65_536)  # all alerts in memory are looked through with each new one
def _about(group: Group) -> _About:
    known = dict(group)
    own = [known["src_subnet"]] if known.keys() == {"src_subnet"} else _networks_of_group(known)
    return _About(tuple(sorted(known.values())), frozenset(own))


def together(subjects: Sequence[Subject]) -> list[list[int]]:
    """The positions of those that belong together, in the order of the first of each."""
    same: dict[tuple[object, ...], list[int]] = {}
    for at, each in enumerate(subjects):
        # By its value: a risk names its address `address`, a rule about logins `src_ip`.
        key = (*sorted(each.group.values()), each.drill) if each.is_open else (each.uid,)
        same.setdefault(key, []).append(at)
    return _in_networks(list(same.values()), subjects)


def _in_networks(every: Sequence[list[int]], subjects: Sequence[Subject]) -> list[list[int]]:
    """What is about the same, put together with what is about the network it is in."""
    networks = {
        (first.group["src_subnet"], first.drill): same
        for same in every
        if (first := subjects[same[0]]).is_open and first.group.keys() == {"src_subnet"}
    }

    def gravest(same: Sequence[int]) -> int:
        return max(gravity(subjects[at].level) for at in same)

    found = []
    for same in every:
        first = subjects[same[0]]
        around = [networks.get((network, first.drill), []) for network in _networks_of(first)]
        taken = next((held for held in around if held and gravest(held) >= gravest(same)), None)
        if taken is None:
            found.append(same)
        else:
            taken += same
    return found


def _networks_of(subject: Subject) -> tuple[str, ...]:
    """The networks, as alerts write them, of the address that an open alert is about; none where it is about an account too."""
    return _networks_of_group(subject.group) if subject.is_open else ()


def _networks_of_group(group: Mapping[str, str]) -> tuple[str, ...]:
    return _networks(group.get("src_ip") or group.get("address", "")) if group.keys() <= _PLACES else ()


@lru_cache(maxsize=16_384)  # all alerts in memory are put together again and again
def _networks(text: str) -> tuple[str, ...]:
    try:
        address = ip_address(text)
    except ValueError:  # it has none, or that of an erased person
        return ()
    return tuple(str(ip_network((address, bits), strict=False)) for bits in _WIDTHS[address.version])
