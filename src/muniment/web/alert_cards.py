"""Alerts as cards in a list, several about the same as one; and where what they name leads. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from ipaddress import ip_address
from urllib.parse import quote, urlencode

from muniment.together import Subject, gravity, together
from muniment.web.alert_words import admitted_words, facts
from muniment.web.query_text import quoted
from muniment.web.rule_answers import Evaluated
from muniment.web.security import Alert
from muniment.web.times import ago, clock_text

__all__ = [
    "KINDS",
    "Card",
    "Named",
    "as_listed",
    "by_rule",
    "card",
    "entity_query",
    "entity_url",
    "event_clock",
    "folded",
    "rule_url",
    "seen",
    "url",
]

_ENTITY_KINDS = {"address", "range", "account", "key"}
KINDS = {"src_ip": "address", "address": "address", "src_subnet": "range"} | dict.fromkeys(
    ("actor", "actor_id", "actor_name", "actor_email"), "account"
)
"""What the values of a group are, by its names: kinds of what can be blocked."""


@dataclass(frozen=True, slots=True)
class Named:
    """A value with the page about it; `by`: the author of the rule, where it is not the card's."""

    text: str
    url: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """An alert in a list: what it is about, how much and how long, whether any succeeded. `uids`: of all it stands for."""

    alert: Alert
    url: str
    about: tuple[Named, ...]
    facts: str
    admitted: str
    is_admitted: bool
    when: str
    clock: str
    state: str
    uids: tuple[str, ...]
    also: tuple[Named, ...] = ()  # weaker alerts about the same, from other rules
    same: tuple[Card, ...] = ()  # further ones of the same rule, about others


def card(alert: Alert, now_ns: int, zone: tzinfo) -> Card:
    """One alert."""
    about = tuple(
        Named(_called(alert, name, value), entity_url(KINDS.get(name, ""), value, alert.uid))
        for name, value in alert.group.items()
    )
    return Card(
        alert, f"/alerts/{quote(alert.uid)}", about, ", ".join(facts(alert)), admitted_words(alert.admitted),
        bool(alert.admitted and alert.admitted.count), ago(alert.last_us * 1_000, now_ns),
        clock_text(alert.last_us * 1_000, zone, "second"), alert.state.replace("_", " "), (alert.uid,),
    )  # fmt: skip


def _called(alert: Alert, name: str, value: str) -> str:
    """An account by its name, where the alert knows one for its number."""
    actors = alert.values.get("actors", [])
    return actors[0] if KINDS.get(name) == "account" and len(actors) == 1 else value


def folded(cards: Sequence[Card]) -> list[Card]:
    """One card for what is open about the same (`together`): the gravest, with the others in it; of a network one range to block.

    It says of a success what any of them says: the rule that counts refusals may not be the gravest one.
    """
    found = together([Subject(a.uid, a.group, a.level, a.state, a.drill) for a in (each.alert for each in cards)])
    return [_one([cards[at] for at in same]) for same in found]


def _one(same: Sequence[Card]) -> Card:
    """The gravest of them, with the others; of as grave ones that about a network."""
    first, *others = sorted(
        same, key=lambda each: (gravity(each.alert.level), "src_subnet" in each.alert.group), reverse=True
    )
    if not others:
        return first
    told = max(same, key=lambda each: (each.is_admitted, bool(each.admitted)))
    newest = max(same, key=lambda each: each.alert.last_us)
    # The most numerous says how much: of a login after many refusals only the two that decided are counted. What was found
    # of a network says it of all its addresses.
    wide = [each for each in same if "src_subnet" in each.alert.group] or [e for e in same if e.alert.kind != "risk"]
    most = max(wide, key=lambda each: each.alert.count, default=first)
    return replace(
        first, facts=most.facts, admitted=told.admitted, is_admitted=told.is_admitted, when=newest.when, clock=newest.clock,
        uids=tuple(each.alert.uid for each in (first, *others)),
        also=tuple(_titles(others, first.alert.author)),
    )  # fmt: skip


def as_listed(alert: Alert, others: Sequence[Alert], now_ns: int, zone: tzinfo) -> Card:
    """An alert as the list tells it: of a login after many refusals its own events are two, and what is one card with it says how many."""
    own = card(alert, now_ns, zone)
    for each in folded([own, *(card(other, now_ns, zone) for other in others)]):
        if each.uids[0] == alert.uid:
            return replace(own, facts=each.facts, admitted=each.admitted, is_admitted=each.is_admitted)
    return own


def _titles(cards: Sequence[Card], author: str) -> list[Named]:
    """Each rule once, with how often it found something, and whose it is unless `author`'s; the newest is where it leads."""
    together: dict[str, list[Card]] = {}
    for each in sorted(cards, key=lambda each: -each.alert.last_us):
        together.setdefault(each.alert.title, []).append(each)
    return [
        Named(
            f"{title} ({len(same)} times)" if len(same) > 1 else title,
            same[0].url,
            ", ".join(
                dict.fromkeys(each.alert.author or "nobody named" for each in same if each.alert.author != author)
            ),
        )
        for title, same in together.items()
    ]


def by_rule(cards: Sequence[Card]) -> list[Card]:
    """One card for each rule: its first, with the others in it."""
    together: dict[tuple[str, str], list[Card]] = {}
    for each in cards:
        together.setdefault((each.alert.rule_id, each.alert.drill), []).append(each)
    return [
        replace(same[0], same=tuple(same[1:]), uids=tuple(uid for each in same for uid in each.uids))
        for same in together.values()
    ]


def seen(evaluated: Evaluated, zone: tzinfo, *, is_one: bool = False) -> str:
    """How far the rules have seen, or one of them, whose sources are those that feed it."""
    if not evaluated.to_time:
        return "Nothing is evaluated yet: the rules wait for the store"
    clock = clock_text(evaluated.to_time, zone, "second")
    n, m = evaluated.n_fresh, evaluated.n_sources
    if is_one and not m:
        return f"Evaluated to {clock}; no source feeds it"
    whose = f"{'source' if m == 1 else 'sources'} that {'feeds' if m == 1 else 'feed'} it" if is_one else "sources"
    return f"Evaluated to {clock} for {n} of {m} {whose}"


def url(path: str, **params: str) -> str:
    """An address with what is filled."""
    kept = {name: value for name, value in params.items() if value}
    return f"{path}?{urlencode(kept)}" if kept else path


def rule_url(key: str) -> str:
    """The page of a rule."""
    return url("/rules/one", rule=key)


def entity_url(kind: str, value: str, alert: str = "") -> str:
    """The page of an address, range, account or key; empty for other things."""
    if kind == "account" and _is_address(value):  # nobody is known of who did it but where they came from
        kind = "address"
    if kind in _ENTITY_KINDS:
        return url(f"/entities/{kind}", v=value, alert=alert)
    return ""


def _is_address(value: str) -> bool:
    try:
        return bool(ip_address(value))
    except ValueError:
        return False


def entity_query(kind: str, value: str) -> str:
    """What finds its events."""
    if kind in {"address", "range"}:
        return f"ip:{quoted(value)} -source:muniment.alerts"
    own = f"(session_id:{quoted(value)} OR actor_id:{quoted(value)})" if kind == "key" else f"actor:{quoted(value)}"
    return f"{own} -source:muniment.alerts"


def event_clock(us: int, zone: tzinfo) -> str:
    """A time of an event; `never` where there is none."""
    return clock_text(us * 1_000, zone, "second") if us else "never"
