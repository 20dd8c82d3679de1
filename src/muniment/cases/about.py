"""What a case is about: the addresses, ranges and accounts that its alerts have in common, and who was let in. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final

from muniment.detect import attack
from muniment.detect.alerts import Alert
from muniment.limits import CASE_ENTITIES_MAX

__all__ = ["About", "about", "phase_of", "sentence"]

_KINDS: Final[Mapping[str, str]] = {"src_ip": "address", "address": "address", "src_subnet": "range"} | dict.fromkeys(
    ("actor", "actor_id", "actor_name", "actor_email", "account", "target_account"), "account"
)
"""What the values of an alert's group are, by its names."""
_FEW: Final = 3
"""An alert that groups by something else names at most so many accounts or addresses that it can be said to be about them."""


@dataclass(frozen=True, slots=True)
class About:
    """Addresses and ranges as text, accounts as the sources spell them; the first ones are what the first alerts are about."""

    addresses: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Kind and value of each."""
        return (
            *(("address", each) for each in self.addresses), *(("range", each) for each in self.ranges),
            *(("account", each) for each in self.accounts),
        )  # fmt: skip

    def has(self, kind: str, value: str) -> bool:
        """Is it about this address, range or account, or about a range that holds the address?

        >>> found = About(("203.0.113.7",), ("198.51.100.0/24",), ("M.Ruiz",))
        >>> found.has("account", "m.ruiz"), found.has("address", "198.51.100.9"), found.has("address", "203.0.113.8")
        (True, True, False)
        """
        if (kind, value.casefold()) in {(known, each.casefold()) for known, each in self.pairs}:
            return True
        if kind not in {"address", "range"}:
            return False
        try:
            wanted = ip_network(value, strict=False)
            return any(_overlap(wanted, each) for each in (*self.addresses, *self.ranges))
        except ValueError:
            return False

    def meets(self, other: About) -> bool:
        """Have both something in common?"""
        return any(self.has(kind, value) for kind, value in other.pairs)


def _overlap(wanted: IPv4Network | IPv6Network, text: str) -> bool:
    network = ip_network(text, strict=False)
    if isinstance(network, IPv4Network):
        return isinstance(wanted, IPv4Network) and network.overlaps(wanted)
    return isinstance(wanted, IPv6Network) and network.overlaps(wanted)


def about(alerts: Iterable[Alert], let_in: Sequence[str] = ()) -> About:
    """What these alerts are about; `let_in`: accounts that succeeded from there."""
    found: dict[str, dict[str, str]] = {"address": {}, "range": {}, "account": {}}
    for alert in alerts:
        named = [(_KINDS.get(name, ""), value) for name, value in alert.group]
        if not any(kind for kind, _ in named):
            few = (("address", alert.of("addresses")), ("account", alert.of("actors")))
            named = [(kind, value) for kind, values in few if len(values) <= _FEW for value in values]
        for kind, value in named:
            if kind and value and _is_sound(kind, value):
                found[kind].setdefault(value.casefold(), value)
    for name in let_in:
        found["account"].setdefault(name.casefold(), name)
    return About(*(tuple(values.values())[:CASE_ENTITIES_MAX] for values in found.values()))


def _is_sound(kind: str, value: str) -> bool:
    """An erased person leaves words where an address was."""
    if kind == "account":
        return value != "(erased)"
    try:
        ip_address(value) if kind == "address" else ip_network(value, strict=False)
    except ValueError:
        return False
    return True


def phase_of(tags: Iterable[str]) -> str:
    """The ATT&CK tactic a rule is tagged with, the first; else that of its first technique; '' when it names none.

    >>> phase_of(["attack.credential-access", "attack.t1110.001"]), phase_of(["attack.t1110"]), phase_of(["iso27001.a.8.16"])
    ('Credential Access', 'Credential Access', '')
    """
    names, tags = attack.tactics(), list(tags)
    for tag in tags:
        if name := names.get(tag.lower().removeprefix("attack.").replace("_", "-"), ""):
            return name
    known = [names[tactic] for each in attack.techniques_of(tags) for tactic in each.tactics if tactic in names]
    return known[0] if known else ""


def sentence(alerts: Sequence[Alert], concerned: About, let_in: Sequence[str] = ()) -> str:
    """What a case is about, in one sentence: what was found first of the gravest, how much, from where, who was let in."""
    if not alerts:
        return "Its alerts are not known any more; their records are in the log."
    gravest = max(alerts, key=lambda each: (each.severity_id, -each.first_us))
    most = max(alerts, key=lambda each: each.count)
    said = gravest.title
    where = _few((*concerned.addresses, *concerned.ranges))
    if where:
        said += f", from {where}"
    if most.count > 1:
        n = len(most.of("actors"))
        said += f": {most.count:,} events" + (f" as {n:,} accounts" if n > 1 else "")
    if let_in:
        said += f"; {_few(let_in)} {'was' if len(let_in) == 1 else 'were'} let in"
    elif not where and concerned.accounts:
        said += f"; about {_few(concerned.accounts)}"
    return f"{said}."


def _few(values: Sequence[str]) -> str:
    shown = ", ".join(values[:3])
    return f"{shown} and {len(values) - 3:,} more" if len(values) > 3 else shown
