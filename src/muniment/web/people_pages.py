"""People and keys: who may come in, which keys work, whose they are, and how either ends. For administrators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response

from muniment.errors import RejectedError
from muniment.web.address import Address
from muniment.web.backend import SourceStatus, Viewer, Wanted
from muniment.web.query_text import including
from muniment.web.refused import Refused, refused
from muniment.web.site import Site, redirect
from muniment.web.times import ago, clock_text

__all__ = ["ApiKey", "KeyRow", "PeopleBackend", "PeoplePages", "Person", "key_row", "person_tabs"]

_DAYS: Final = 30
_ACTORS_MAX: Final = 100
"""So many keys are told how much they did; a company has a few that read, and what sends is counted by its source."""

_MAY: Final = {
    "reader": "searches, proves and exports",
    "analyst": "works with alerts, rules and blocks",
    "enforcer": "fetches the feeds of blocks",
    "administrator": "does everything",
    "source": "sends as one source",
}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. `owner` empty: nobody's; `source` for keys that send; times in nanoseconds."""

    id: str
    name: str
    role: str
    source: str
    scope: str
    created_at: int
    revoked_at: int | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """An account. `left_at` 0: still here; `keys`: those of theirs that work, by id."""

    id: str
    name: str
    role: str
    created_at: int
    left_at: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as the page shows it. `used`: how much it did lately, in words; `used_url`: where that can be seen."""

    key: ApiKey
    may: str
    made: str
    made_clock: str
    used: str
    used_url: str
    ended: str
    source_url: str


@dataclass(frozen=True, slots=True)
class KeysView:
    """Keys that read or decide, keys that send, and those that ended. `owner`: only this person's are shown."""

    tabs: tuple[tuple[str, str, bool], ...]
    reading: tuple[KeyRow, ...]
    sending: tuple[KeyRow, ...]
    ended: tuple[KeyRow, ...]
    owner: str
    done: str
    refused: Refused | None


@dataclass(frozen=True, slots=True)
class PersonRow:
    """An account with the number of its keys."""

    person: Person
    since: str
    since_clock: str
    left: str
    keys_url: str
    acts_url: str
    is_self: bool


@dataclass(frozen=True, slots=True)
class PeopleView:
    """All accounts: who is here first. `gone` has just left; `going_on` are their keys of sources that still send."""

    tabs: tuple[tuple[str, str, bool], ...]
    here: tuple[PersonRow, ...]
    left: tuple[PersonRow, ...]
    gone: str
    going_on: tuple[KeyRow, ...]
    refused: Refused | None


class PeopleBackend(Protocol):
    """What these pages need beside `Backend`; DeniedError without the permission `admin`."""

    async def keys(self, viewer: Viewer) -> Sequence[ApiKey]:
        """Every key, oldest first."""
        ...

    async def revoke(self, viewer: Viewer, key_id: str) -> None:
        """End a key at once."""
        ...

    async def people(self, viewer: Viewer) -> Sequence[Person]:
        """Every account."""
        ...

    async def leave(self, viewer: Viewer, person: str) -> None:
        """End every way in that a person has; keys of sources go on."""
        ...


def person_tabs(now: str) -> tuple[tuple[str, str, bool], ...]:
    """The pages about who may come in, and which of them this is."""
    pages = (("People", "/people"), ("API keys", "/keys"), ("Erasures", "/erasures"))
    return tuple((words, url, url == now) for words, url in pages)


class PeoplePages:
    """`/people` and `/keys`."""

    def __init__(self, site: Site, backend: PeopleBackend) -> None:
        self._site = site
        self._people = backend

    async def people(self, request: Request, viewer: Viewer, problem: Refused | None = None) -> Response:
        """Who has an account."""
        found, now = await self._people.people(viewer), self._site.backend.now_ns()
        look = self._site.look(request)
        rows = [
            PersonRow(
                each, ago(each.created_at, now), clock_text(each.created_at, look.zone, "minute"),
                ago(each.left_at, now) if each.left_at else "", f"/keys?owner={each.id}",
                Address(including("source:muniment", "actor_id", each.id), f"{_DAYS}d").url(), each.id == viewer.id,
            )
            for each in sorted(found, key=lambda each: each.id)
        ]  # fmt: skip
        gone = request.query_params.get("left", "")
        keys = await self._people.keys(viewer) if gone else ()
        going_on = [k for k in keys if k.owner == gone and k.source and k.revoked_at is None]
        view = PeopleView(
            person_tabs("/people"),
            tuple(row for row in rows if not row.person.left_at),
            tuple(row for row in rows if row.person.left_at),
            gone if any(each.id == gone and each.left_at for each in found) else "",
            tuple(key_row(self._site, request, key, {}, {}) for key in going_on),
            problem,
        )
        shell = self._site.shell(request, "People", "people", json_url="/api/v1/people")
        return self._site.render("people.html", shell, view, 400 if problem else 200)

    async def leave(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """Somebody has left."""
        person = request.path_params["id"]
        try:
            await self._people.leave(viewer, person)
        except RejectedError as error:
            return await self.people(request, viewer, refused("leave", error, fields, person))
        return redirect(f"/people?left={person}")

    async def keys(self, request: Request, viewer: Viewer, problem: Refused | None = None) -> Response:
        """Which keys there are, whose, and what each may."""
        owner = request.query_params.get("owner", "")
        found = [key for key in await self._people.keys(viewer) if not owner or key.owner == owner]
        acts, heard = await self._acts(viewer), {s.id: s for s in await self._site.backend.sources(viewer)}
        rows = [key_row(self._site, request, key, acts, heard) for key in reversed(found)]
        working = [row for row in rows if row.key.revoked_at is None]
        view = KeysView(
            person_tabs("/keys"),
            tuple(row for row in working if not row.key.source),
            tuple(sorted((row for row in working if row.key.source), key=lambda row: row.key.source)),
            tuple(row for row in rows if row.key.revoked_at is not None),
            owner,
            request.query_params.get("revoked", "")[:16],
            problem,
        )
        shell = self._site.shell(request, "API keys", "people", json_url="/api/v1/keys")
        return self._site.render("api_keys.html", shell, view, 400 if problem else 200)

    async def revoke(self, request: Request, viewer: Viewer, fields: dict[str, str]) -> Response:
        """End a key."""
        key = request.path_params["id"]
        try:
            await self._people.revoke(viewer, key)
        except RejectedError as error:
            return await self.keys(request, viewer, refused("revoke", error, fields, key))
        return redirect(f"/keys?revoked={key}")

    async def _acts(self, viewer: Viewer) -> Mapping[str, int]:
        """How many records each key left of itself; what a key does is recorded under `key:<id>`."""
        since = self._site.backend.now_ns() - _DAYS * 86_400 * 10**9
        wanted = Wanted("source:muniment actor_id:key*", since)
        found = await self._site.backend.facets(viewer, wanted, ["actor_id"], limit=_ACTORS_MAX)
        return dict(found.get("actor_id", ()))


def key_row(
    site: Site, request: Request, key: ApiKey, acts: Mapping[str, int], heard: Mapping[str, SourceStatus]
) -> KeyRow:
    """A key as pages show it. `acts`: how many records each actor left lately; `heard`: sources by id."""
    now, look = site.backend.now_ns(), site.look(request)
    source_url = Address(including("", "source", key.source)).url() if key.source else ""
    if key.source:
        last = heard[key.source].last_heard if key.source in heard else None
        used, url = f"source heard {ago(last, now)}" if last else "source never heard", source_url
    else:
        n = acts.get(f"key:{key.id}", 0)
        used = (
            f"{n:,} {'record' if n == 1 else 'records'} in {_DAYS} days".replace(",", "\u202f")
            if n
            else f"not in {_DAYS} days"
        )
        url = Address(including("source:muniment", "actor_id", f"key:{key.id}"), f"{_DAYS}d").url() if n else ""
    return KeyRow(
        key, _MAY.get(key.role, key.role), ago(key.created_at, now), clock_text(key.created_at, look.zone, "minute"), used, url,
        ago(key.revoked_at, now) if key.revoked_at is not None else "", source_url,
    )  # fmt: skip
