"""Operations of running it: sources and their keys, API keys, people and their login links, status."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from muniment.access.keys import ApiKey
from muniment.access.policy import MACHINE
from muniment.access.sessions import Person
from muniment.api.operations import Call, Empty, Operation
from muniment.api.services import Services
from muniment.errors import RejectedError
from muniment.limits import FACET_VALUES_MAX
from muniment.search.query.parse import parse_query

__all__ = ["Administering", "admin_operations"]

SourceIdText = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,63}$", examples=["my-app"])]
_PERSON = r"^[a-z0-9][a-z0-9._@-]{0,63}$"
PersonText = Annotated[str, Meta(pattern=_PERSON, examples=["anna"])]
NameText = Annotated[str, Meta(min_length=1, max_length=128, examples=["Nightly report"])]


class SourceBody(msgspec.Struct, frozen=True):
    id: SourceIdText
    format: Annotated[str, Meta(max_length=64, description="A catalogue entry, or auto", examples=["muniment"])] = (
        "auto"
    )
    title: Annotated[str, Meta(max_length=128)] = ""
    owner: Annotated[str, Meta(max_length=128)] = ""
    privacy: Literal["", "clear", "sealed"] = ""


class SourceAnswer(msgspec.Struct, frozen=True):
    id: str
    title: str
    format: str
    privacy: str
    owner: str
    rhythm_s: int
    received: int = 0
    quarantined: int = 0
    last_heard: int | None = None
    format_title: str = ""
    docs: str = ""


class SourceListAnswer(msgspec.Struct, frozen=True):
    sources: list[SourceAnswer]
    formats: list[str]


class NewSourceAnswer(msgspec.Struct, frozen=True):
    """A source and its first key. The key is shown this once."""

    source: SourceAnswer
    key: str


class KeyBody(msgspec.Struct, frozen=True):
    name: NameText
    role: Literal["reader", "analyst", "enforcer", "administrator"] = "reader"
    scope: Annotated[str, Meta(max_length=4096, description="A query ANDed into every search of this key")] = ""
    owner: Annotated[
        str,
        Meta(max_length=64, description="Whose it is; a key belongs to who makes it, so only the command line of the server's machine names somebody"),
    ] = ""  # fmt: skip


class KeyAnswer(msgspec.Struct, frozen=True):
    """A key. `owner`: whose it is; empty: nobody's in particular, so that it never agrees as a second person."""

    id: str
    name: str
    role: str
    source: str
    scope: str
    created_at: int
    revoked_at: int | None = None
    owner: str = ""


class KeyListAnswer(msgspec.Struct, frozen=True):
    keys: list[KeyAnswer]


class NewKeyAnswer(msgspec.Struct, frozen=True):
    """A key and its text, which is shown this once."""

    info: KeyAnswer
    key: str


class LinkBody(msgspec.Struct, frozen=True):
    person: PersonText
    name: NameText
    role: Literal["administrator", "analyst", "reader"] = "reader"


class LinkAnswer(msgspec.Struct, frozen=True):
    url: str


class PersonAnswer(msgspec.Struct, frozen=True):
    """An account. `left_at` 0: still here; `keys`: those of their keys that work, by id. Times in nanoseconds."""

    id: str
    name: str
    role: str
    created_at: int
    left_at: int
    keys: list[str]


class PersonListAnswer(msgspec.Struct, frozen=True):
    people: list[PersonAnswer]


class LeftAnswer(msgspec.Struct, frozen=True):
    """Who has left, and their keys: `revoked` ended with them; `sending` are keys of sources, which go on until replaced."""

    person: PersonAnswer
    revoked: list[KeyAnswer]
    sending: list[KeyAnswer]


class StatusAnswer(msgspec.Struct, frozen=True):
    """The state of each part; the health verdict stands in `is_healthy`, its reasons in `problems`."""

    is_healthy: bool
    problems: list[str]
    ledger: dict[str, Any]
    store: dict[str, Any]
    doors: dict[str, Any]
    response: dict[str, Any]
    process: dict[str, Any]


def admin_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    a = Administering(services)
    return [
        Operation("GET", "/api/v1/status", "status", "The state of every part", "search", a.status,
                  answer=StatusAnswer, tag="operation"),
        Operation("GET", "/api/v1/sources", "sources", "Who sends what, and when it was last heard", "search",
                  a.sources, answer=SourceListAnswer, tag="sources"),
        Operation("POST", "/api/v1/sources", "source_create", "Add a source; its key is shown once", "sources",
                  a.source_create, body=SourceBody, answer=NewSourceAnswer, status=201, tag="sources",
                  refusals=frozenset({409})),
        Operation("POST", "/api/v1/sources/{id}/keys", "source_key", "Another key for a source", "sources",
                  a.source_key, answer=NewKeyAnswer, status=201, tag="sources"),
        Operation("GET", "/api/v1/keys", "api_keys", "All API keys, without their secrets", "admin", a.keys,
                  answer=KeyListAnswer, tag="operation"),
        Operation("POST", "/api/v1/keys", "key_create", "A reading key, perhaps with a row scope", "admin",
                  a.key_create, body=KeyBody, answer=NewKeyAnswer, status=201, tag="operation"),
        Operation("DELETE", "/api/v1/keys/{id}", "key_revoke", "Revoke a key at once", "admin", a.key_revoke,
                  answer=KeyAnswer, tag="operation"),
        Operation("POST", "/api/v1/links", "link_create", "A one-time login link for a person", "admin",
                  a.link_create, body=LinkBody, answer=LinkAnswer, status=201, tag="operation",
                  refusals=frozenset({409})),
        Operation("GET", "/api/v1/people", "people", "Every account, and whose keys work", "admin", a.people,
                  answer=PersonListAnswer, tag="operation"),
        Operation("POST", "/api/v1/people/{id}/leave", "person_leave",
                  "Somebody has left: sessions, login links and reading keys end at once", "admin", a.person_leave,
                  answer=LeftAnswer, tag="operation", refusals=frozenset({409})),
    ]  # fmt: skip


class Administering:
    """The handlers. A change is recorded before its answer leaves."""

    def __init__(self, services: Services) -> None:
        self._s = services

    async def status(self, call: Call[Empty, Empty]) -> StatusAnswer:
        """The state of every part; a reader with a row scope learns that it works, not how much others send."""
        found = await self._s.blocking(self._s.status)
        answer = msgspec.convert(found, StatusAnswer)
        return _status_in_scope(answer) if call.identity.scope else answer

    async def sources(self, call: Call[Empty, Empty]) -> SourceListAnswer:
        """Every source; to a reader with a row scope those it sees rows of, and nothing of the others."""
        formats = self._s.sources.formats()
        if not call.identity.scope:
            known = [self._source(info) for info in self._s.sources.all()]
            await self._s.recorder.note(call, "source.list", "ledger", self._s.ledger.origin, results=len(known))
            return SourceListAnswer(known, formats)
        visible = await self._s.blocking(
            lambda: self._s.search.facets("", None, None, ["source"], FACET_VALUES_MAX, scope=call.identity.scope),
        )
        found = []
        for name, count in visible["source"]:
            info = self._s.sources.get(name)
            if info is not None:
                found.append(
                    msgspec.structs.replace(self._source(info), received=count, quarantined=0, last_heard=None)
                )
        await self._s.recorder.note(call, "source.list", "ledger", self._s.ledger.origin, results=len(found))
        return SourceListAnswer(found, formats)

    def _source(self, info: Any) -> SourceAnswer:
        counters = self._s.sources.counters(info.id)
        return SourceAnswer(
            info.id, info.title, info.format, info.privacy, info.owner, info.rhythm_s or 0,
            counters.received, counters.quarantined, counters.last_heard or None, *self._s.sources.about(info.format),
        )  # fmt: skip

    async def source_create(self, call: Call[Empty, SourceBody]) -> NewSourceAnswer:
        b = call.body
        info = self._s.sources.add(
            b.id,
            title=b.title or b.id,
            format=b.format,
            privacy=b.privacy or self._s.settings.privacy_default,
            owner=b.owner or call.identity.name,
            now_ns=self._s.clock(),
        )
        owner = self._owner(call)
        _, text = self._s.keys.create(f"{b.id} (first key)", "source", self._s.clock(), source=b.id, owner=owner)
        await self._s.recorder.note(call, "source.create", "source", b.id, format=b.format, privacy=info.privacy)
        return NewSourceAnswer(self._source(info), text)

    async def source_key(self, call: Call[Empty, Empty]) -> NewKeyAnswer:
        source = str(call.path["id"])
        self._s.sources.sender(source)
        owner = self._owner(call)
        key, text = self._s.keys.create(f"{source} key", "source", self._s.clock(), source=source, owner=owner)
        await self._s.recorder.note(call, "key.create", "source", source, key=key.id, owner=owner)
        return NewKeyAnswer(_key(key), text)

    async def keys(self, call: Call[Empty, Empty]) -> KeyListAnswer:
        found = [_key(key) for key in self._s.keys.all()]
        await self._s.recorder.note(call, "key.list", "ledger", self._s.ledger.origin, results=len(found))
        return KeyListAnswer(found)

    async def key_create(self, call: Call[Empty, KeyBody]) -> NewKeyAnswer:
        b = call.body
        try:
            parse_query(b.scope, self._s.clock())
        except RejectedError as error:
            raise RejectedError(error.reason, field="scope", column=error.column) from None
        if b.scope and b.role != "reader":
            raise RejectedError(f"{b.role} sees all rows; a row scope needs the role reader", field="scope")
        owner = self._owner(call, b.owner)
        key, text = self._s.keys.create(b.name, b.role, self._s.clock(), scope=b.scope, owner=owner)
        await self._s.recorder.note(call, "key.create", "key", key.id, role=b.role, scope=b.scope, owner=owner)
        return NewKeyAnswer(_key(key), text)

    def _owner(self, call: Call[Any, Any], named: str = "") -> str:
        """Whose a key is: that of who makes it. Nobody gives keys to others, or one person would soon be two.

        Whoever works on the server's own machine can write into its database, so that command line may name somebody.
        """
        who = call.identity
        if named in {"", who.person}:
            return who.person
        if who.owner != MACHINE:
            raise RejectedError("a key belongs to who makes it; let its owner make it, signed in", field="owner")
        if not re.fullmatch(_PERSON, named):
            raise RejectedError("an account is lower-case letters, digits and . _ @ -, 64 at most", field="owner")
        return named

    async def key_revoke(self, call: Call[Empty, Empty]) -> KeyAnswer:
        key = self._s.keys.revoke(str(call.path["id"]), self._s.clock())
        self._end_credentials()
        await self._s.recorder.note(call, "key.revoke", "key", key.id, owner=key.owner)
        return _key(key)

    def _end_credentials(self) -> None:
        self._s.keys_changed()
        self._s.forget_credentials()  # doors remember verdicts for a while; a revoked key must be dead at once

    async def people(self, call: Call[Empty, Empty]) -> PersonListAnswer:
        found = await self._s.blocking(self._s.doorkeeper.people)
        await self._s.recorder.note(call, "user.list", "ledger", self._s.ledger.origin, results=len(found))
        return PersonListAnswer([self._person(each) for each in found])

    def _person(self, person: Person) -> PersonAnswer:
        keys = [key.id for key in self._s.keys.all() if key.owner == person.id and key.revoked_at is None]
        return PersonAnswer(person.id, person.name, person.role, person.created_at, person.left_at, keys)

    async def person_leave(self, call: Call[Empty, Empty]) -> LeftAnswer:
        """Ends every way in that the person has. Keys of sources go on: records are worth more than tidiness."""
        id, now = str(call.path["id"]), self._s.clock()
        if id == call.identity.person:
            raise RejectedError("that is you; another administrator does this", field="id", status=409)
        person = await self._s.blocking(lambda: self._s.doorkeeper.let_go(id, now))
        revoked, sending = await self._s.blocking(lambda: self._s.keys.revoke_those_of(id, now))
        self._end_credentials()
        ended, going_on = [key.id for key in revoked], [key.id for key in sending]
        await self._s.recorder.note(call, "user.leave", "user", id, revoked=ended, sending=going_on)
        return LeftAnswer(self._person(person), list(map(_key, revoked)), list(map(_key, sending)))

    async def link_create(self, call: Call[Empty, LinkBody]) -> LinkAnswer:
        b = call.body
        if b.person.endswith("\n"):  # which the pattern's `$` lets through
            raise RejectedError("must not end with a line break", field="person")
        token = self._s.doorkeeper.new_link(b.person, b.name, b.role, self._s.clock())
        await self._s.recorder.note(call, "user.invite", "user", b.person, role=b.role)
        return LinkAnswer(f"{self._s.settings.base_url}/login/{token}")


def _key(key: ApiKey) -> KeyAnswer:
    owner = "" if key.owner == MACHINE else key.owner
    return KeyAnswer(key.id, key.name, key.role, key.source, key.scope, key.created_at, key.revoked_at, owner)


def _status_in_scope(answer: StatusAnswer) -> StatusAnswer:
    """Without counts of what came in, and without sentences that may name a source."""
    counts = {"pending_events", "sealed_events", "batches"}
    return msgspec.structs.replace(
        answer,
        problems=[] if answer.is_healthy else ["something is wrong; somebody who sees all rows can read what"],
        doors={name: door[:2] for name, door in answer.doors.items()},
        process={name: value for name, value in answer.process.items() if name not in counts},
    )
