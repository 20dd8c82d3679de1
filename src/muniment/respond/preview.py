"""What a block would have hit in the last thirty days: who succeeded from there, what else was done, is it one of ours.

Nothing is blocked that nobody has looked at: a preview gives a ticket, a block asks for it, and a ticket is good for the
value it was made for, its maker and ten minutes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.errors import RejectedError
from muniment.limits import (
    BLOCK_ALONE_V4_BITS_MIN,
    BLOCK_ALONE_V6_BITS_MIN,
    BLOCK_CLOCKS_S,
    BLOCK_LAG_S,
    BLOCK_NAMES_MAX,
    BLOCK_PREVIEW_DAYS,
    BLOCK_SEEN_WITH_MAX,
    BLOCK_SHARED_ACCOUNTS,
    BLOCK_TICKET_S,
    BLOCK_VALUES_SHOWN,
)
from muniment.respond.block import Allowed, Kind, Seen, key_of, network_of
from muniment.search.columns import address_sql
from muniment.search.engine import Engine

__all__ = ["Hits", "Tickets", "accounts_as_long", "effect", "first_ever", "hits", "seen_with"]

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Hits:
    """What would have been refused. Times in microseconds; 0: never. `people`: accounts that succeeded, most active
    first; `offices`: allowed networks it overlaps. What was seen of it, the most frequent first: `countries`, `agents`
    (client programs), `hosts` (systems it happened on) and `origins` (addresses).
    """

    kind: Kind
    value: str
    events: int
    successes: int
    failures: int
    first_us: int
    last_us: int
    last_success_us: int
    people: Sequence[tuple[str, int]]
    n_people: int
    n_tried: int
    sources: Sequence[tuple[str, int]]
    actions: Sequence[tuple[str, int]]
    addresses: int
    offices: Sequence[Allowed] = ()
    countries: Sequence[tuple[str, int]] = ()
    agents: Sequence[tuple[str, int]] = ()
    hosts: Sequence[tuple[str, int]] = ()
    origins: Sequence[tuple[str, int]] = ()

    @property
    def needs_second_person(self) -> bool:
        """Somebody did their work from there, or it is so wide that somebody will: two people decide."""
        return self.successes > 0 or self.is_wide

    @property
    def is_wide(self) -> bool:
        """Is it more than one customer of a provider gets?"""
        network = network_of(self.kind, self.value)
        if network is None:
            return False
        return network.prefixlen < (BLOCK_ALONE_V4_BITS_MIN if network.version == 4 else BLOCK_ALONE_V6_BITS_MIN)

    @property
    def is_shared(self) -> bool:
        """Many people work from behind it, as an office behind one address: who blocks it says how many."""
        return self.kind in {"address", "range"} and self.n_people >= BLOCK_SHARED_ACCOUNTS

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.offices:
            return f"It belongs to {self.offices[0].title}, which must not be blocked."
        if not self.events:
            where = "came from there" if self.kind in {"address", "range"} else "was done by it"
            return f"Nothing {where} in {BLOCK_PREVIEW_DAYS} days: is it written right?{self._second}"
        if not self.successes:
            every = f"all {self.events:,} events were refused tries or nobody's successes"
            if self.events == 1:
                every = "its one event was a refused try or nobody's success"
            nobody = f"It would have hit nobody: {every}."
            return nobody + self._second
        who = "1 account" if self.n_people == 1 else f"{self.n_people:,} accounts"
        times = "once" if self.successes == 1 else f"{self.successes:,} times"
        hit = f"It would have hit {who} that succeeded {times}."
        if self.is_shared:
            hit = f"Many people share it, as an office does. {hit}"
        return hit + self._second

    @property
    def _second(self) -> str:
        if self.is_wide:
            network = network_of(self.kind, self.value)
            assert network is not None
            of = f"all {network.num_addresses:,} addresses" if network.version == 4 else f"a whole /{network.prefixlen}"
            return f" A second person must agree to {of}."
        return " A second person must agree." if self.needs_second_person else ""


def _condition(kind: Kind, value: str) -> tuple[str, dict[str, object]]:
    network = network_of(kind, value)
    if network is not None:
        mapped = "::ffff:" if network.version == 4 else ""
        ends = {"low": f"{mapped}{network.network_address}", "high": f"{mapped}{network.broadcast_address}"}
        return "src_ip BETWEEN {low:IPv6} AND {high:IPv6}", dict(ends)
    if kind == "key":
        return "(session_id = {value:String} OR actor_id = {value:String})", {"value": value}
    spelt = (
        f"lowerUTF8(normalizeUTF8NFKC({name})) = {{value:String}}" for name in ("actor_id", "actor_name", "actor_email")
    )
    return f"({' OR '.join(spelt)})", {"value": key_of(kind, value)[1]}


_ABOUT_US = "source NOT IN ('muniment.alerts')"


_WHO = "if(actor_name != '', toString(actor_name), toString(actor_id))"
_IS_SUCCESS = "outcome = 'success' AND (actor_name != '' OR actor_id != '')"
_LISTED = {
    "people": f"if({_IS_SUCCESS}, {_WHO}, '')", "sources": "toString(source)", "actions": "toString(action)",
    "countries": "toString(src_country)", "agents": "toString(user_agent)", "hosts": "toString(dst_host)",
    "origins": f"if(src_ip IN (toIPv6('::'), toIPv6('0.0.0.0')), '', {address_sql('src_ip')})",
}  # fmt: skip
"""What is listed, and the SQL of its values; an empty one is none."""


def hits(engine: Engine, kind: Kind, value: str, now_ns: int, offices: Sequence[Allowed]) -> Hits:
    """Look at the last `BLOCK_PREVIEW_DAYS` days. Two queries: what is counted, and everything that is listed."""
    condition, parameters = _condition(kind, value)
    since = now_ns // 1_000 - BLOCK_PREVIEW_DAYS * _DAY_US
    where = f"{condition} AND {_ABOUT_US} AND time >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC')"
    parameters = {**parameters, "since": since}
    totals = engine.query(
        f"SELECT count(), countIf({_IS_SUCCESS}), countIf(outcome = 'failure'), toUnixTimestamp64Micro(min(time)), "
        f"toUnixTimestamp64Micro(max(time)), toUnixTimestamp64Micro(maxIf(time, {_IS_SUCCESS})), "
        f"uniqExactIf({_WHO}, {_IS_SUCCESS}), uniqExactIf({_WHO}, {_WHO} != ''), uniqExact(src_ip) FROM events WHERE {where}",
        parameters,
    ).rows[0]
    n, successes, failures, first, last, last_success, people, tried, addresses = (int(each) for each in totals)
    listed = _listed(engine, where, parameters) if n else {}
    return Hits(
        kind, value, n, successes, failures, first if n else 0, last if n else 0, last_success if successes else 0,
        listed.get("people", ()), people, tried, listed.get("sources", ()), listed.get("actions", ()), addresses, offices,
        listed.get("countries", ()), listed.get("agents", ()), listed.get("hosts", ()), listed.get("origins", ()),
    )  # fmt: skip


def _listed(engine: Engine, where: str, parameters: Mapping[str, object]) -> dict[str, list[tuple[str, int]]]:
    """The most frequent values of each of `_LISTED`. Events that are alike in all of them are counted first, once."""
    columns = ", ".join(f"{sql} AS {name}" for name, sql in _LISTED.items())
    pairs = ", ".join(f"('{name}', {name})" for name in _LISTED)
    rows = engine.query(
        f"SELECT pair.1 AS what, pair.2 AS value, sum(n) AS total FROM (SELECT {columns}, count() AS n FROM events "
        f"WHERE {where} GROUP BY ALL) ARRAY JOIN [{pairs}] AS pair WHERE value != '' GROUP BY what, value "
        f"ORDER BY what, total DESC, value LIMIT {BLOCK_VALUES_SHOWN} BY what",
        parameters,
    ).rows
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for what, value, total in rows:
        found[str(what)].append((str(value), int(total)))
    return found


def seen_with(engine: Engine, kind: Kind, value: str, now_ns: int, keys: Sequence[str]) -> Seen:
    """The addresses, accounts and keys in its events of the last `BLOCK_PREVIEW_DAYS` days; of keys only those among `keys`."""
    condition, parameters = _condition(kind, value)
    since = now_ns // 1_000 - BLOCK_PREVIEW_DAYS * _DAY_US
    limit = BLOCK_SEEN_WITH_MAX
    names = ", ".join(f"lowerUTF8(normalizeUTF8NFKC({name}))" for name in ("actor_id", "actor_name", "actor_email"))
    addresses, accounts, sessions = engine.query(
        f"SELECT groupUniqArray({limit})({_LISTED['origins']}), groupUniqArrayArray({limit})([{names}]), "
        f"groupUniqArrayArray({limit})(arrayFilter(key -> has({{keys:Array(String)}}, key), "
        "[toString(session_id), toString(actor_id)])) FROM events "
        f"WHERE {condition} AND {_ABOUT_US} AND time >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC')",
        {**parameters, "since": since, "keys": list(keys)},
    ).rows[0]
    found = (frozenset(str(each) for each in values if each) for values in (addresses, accounts, sessions))
    return Seen(*found)


def accounts_as_long(engine: Engine, value: str, now_ns: int) -> dict[str, int]:
    """Accounts of the last `BLOCK_PREVIEW_DAYS` days whose names are about as long as `value`, with their events.

    Two letters may stand for one of the same shape (`rn`, `m`), so that names differ in length. Of more than BLOCK_NAMES_MAX
    those with the most events.
    """
    since = now_ns // 1_000 - BLOCK_PREVIEW_DAYS * _DAY_US
    rows = engine.query(
        "SELECT name, sum(n) AS total FROM (SELECT toString(actor_id) AS id, toString(actor_name) AS called, toString(actor_email) AS mail, "
        f"count() AS n FROM events WHERE {_ABOUT_US} AND time >= fromUnixTimestamp64Micro({{since:Int64}}, 'UTC') GROUP BY ALL) "
        "ARRAY JOIN arrayDistinct([id, called, mail]) AS name "
        "WHERE lengthUTF8(name) BETWEEN {least:Int64} AND {most:Int64} "
        f"GROUP BY name ORDER BY total DESC, name LIMIT {BLOCK_NAMES_MAX}",
        {"since": since, "least": max(1, len(value) - 3), "most": len(value) + 3},
    ).rows
    return {str(name): int(n) for name, n in rows}


def first_ever(engine: Engine, kind: Kind, value: str) -> int:
    """The time of the first event ever, in microseconds; 0 when there is none."""
    condition, parameters = _condition(kind, value)
    sql = f"SELECT count(), toUnixTimestamp64Micro(min(time)) FROM events WHERE {condition} AND {_ABOUT_US}"
    n, first = engine.query(sql, parameters).rows[0]
    return int(first) if n else 0


def effect(engine: Engine, kind: Kind, value: str, since_ns: int, until_ns: int = 0) -> tuple[int, int]:
    """Events from a blocked value since then (until the block ended, where it has), and the time of the last in microseconds (0: none).

    What we received before does not count, whatever its clock says; nor what happened before and was only told late. A
    source whose clock is up to BLOCK_CLOCKS_S behind hides nothing: BLOCK_LAG_S after the block its events count.
    """
    condition, parameters = _condition(kind, value)
    since = "fromUnixTimestamp64Micro({since:Int64}, 'UTC')"
    rows = engine.query(
        f"SELECT count(), toUnixTimestamp64Micro(max(time)) FROM events WHERE {condition} AND {_ABOUT_US} "
        f"AND received_at >= {since} AND (time >= {since} OR received_at >= {since} + INTERVAL {BLOCK_LAG_S} SECOND "
        f"AND time >= {since} - INTERVAL {BLOCK_CLOCKS_S} SECOND) "
        "AND ({until:Int64} = 0 OR time < fromUnixTimestamp64Micro({until:Int64}, 'UTC'))",
        {**parameters, "since": since_ns // 1_000, "until": until_ns // 1_000},
    ).rows
    n, last = rows[0]
    return int(n), int(last) if n else 0


_MS: Final = 10**6


class Tickets:
    """Previews that were looked at. Stateless: a ticket is a MAC over who looked at what, and when."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, kind: str, value: str, person: str, now_ns: int) -> str:
        """A ticket for what `person` was just shown."""
        at = now_ns // _MS
        return f"{at}.{self._mac(kind, value, person, at)}"

    def check(self, ticket: str, kind: str, value: str, person: str, now_ns: int) -> None:
        """Raises RejectedError when the preview was another one, another person's or too long ago."""
        at, _, mac = ticket.partition(".")
        if not (at.isascii() and at.isdigit()) or not hmac.compare_digest(
            mac.encode(), self._mac(kind, value, person, int(at)).encode()
        ):
            raise RejectedError("look at the preview of exactly this block first", field="preview", status=409)
        if abs(now_ns // _MS - int(at)) > BLOCK_TICKET_S * 1_000:  # our clock may have been put back, too
            raise RejectedError("the preview is older than ten minutes; look again", field="preview", status=409)

    def issued_at(self, ticket: str) -> int:
        """When a ticket that `check` has let pass was made, in nanoseconds; to the millisecond, rounded down."""
        return int(ticket.partition(".")[0]) * _MS

    def _mac(self, kind: str, value: str, person: str, at: int) -> str:
        text = "\n".join((kind, value, person, str(at)))
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:32]
