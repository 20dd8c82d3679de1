"""Operations of formats: records that no entry knows, the entry suggested for them, and its acceptance by a person."""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

from muniment.api.operations import Call, Empty, Operation
from muniment.api.services import Services
from muniment.errors import RejectedError
from muniment.search.formats import Group, Own, Read, Suggestion

__all__ = ["AcceptBody", "Formatting", "ReadAsBody", "TryBody", "format_operations"]

EntryText = Annotated[str, Meta(min_length=1, max_length=200_000, description="A catalogue entry, YAML")]


class UnknownAnswer(msgspec.Struct, frozen=True):
    """Groups of records that no entry knows, the entries of one's own, and what is wrong with their files."""

    unknown: list[Group]
    own: list[Own]
    problems: list[str]


class TryBody(msgspec.Struct, frozen=True):
    """Either the `text` of an entry, or the name of an `entry` of the catalogue."""

    text: Annotated[str, Meta(max_length=200_000, description="A catalogue entry, YAML")] = ""
    entry: Annotated[str, Meta(max_length=64, description="The name of an entry in force")] = ""


class TriedAnswer(msgspec.Struct, frozen=True):
    preview: list[Read]


class AcceptBody(msgspec.Struct, frozen=True):
    text: EntryText
    source: Annotated[str, Meta(max_length=64, description="Read all that this source sends with it")] = ""


class AcceptedAnswer(msgspec.Struct, frozen=True):
    """In force from now on. What is stored was read before; `POST /api/v1/rebuild` reads it again."""

    name: str
    title: str


class ReadAsBody(msgspec.Struct, frozen=True):
    format: Annotated[str, Meta(max_length=64, description="A catalogue entry, or auto: by content", examples=["okta"])]


class ReadAsAnswer(msgspec.Struct, frozen=True):
    """In force from now on. What is stored was read before; `POST /api/v1/rebuild` reads it again."""

    source: str
    format: str
    before: str


def format_operations(services: Services) -> list[Operation]:
    """The operations over `services`."""
    f = Formatting(services)
    return [
        Operation("GET", "/api/v1/formats", "formats", "Records that no catalogue entry knows, and entries of one's own",
                  "sources", f.formats, answer=UnknownAnswer, tag="sources"),
        Operation("GET", "/api/v1/formats/{id}", "format_suggestion",
                  "An entry suggested for a group of records, and what they become with it", "sources", f.suggestion,
                  answer=Suggestion, tag="sources"),
        Operation("POST", "/api/v1/formats/{id}/try", "format_try", "What a group of records becomes with an entry",
                  "sources", f.try_out, body=TryBody, answer=TriedAnswer, tag="sources"),
        Operation("POST", "/api/v1/sources/{id}/format", "source_format", "Read all that a source sends with an entry of the catalogue",
                  "sources", f.read_as, body=ReadAsBody, answer=ReadAsAnswer, tag="sources"),
        Operation("POST", "/api/v1/formats", "format_accept", "Put an entry of one's own in force", "sources", f.accept,
                  body=AcceptBody, answer=AcceptedAnswer, status=201, tag="sources"),
        Operation("DELETE", "/api/v1/formats/{id}", "format_remove", "Take an entry of one's own out of force", "sources",
                  f.remove, answer=AcceptedAnswer, tag="sources"),
    ]  # fmt: skip


class Formatting:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._s = services

    async def formats(self, call: Call[Empty, Empty]) -> UnknownAnswer:
        f = self._s.formats
        unknown, own = await self._s.blocking(f.groups), await self._s.blocking(f.own)
        await self._s.recorder.note(
            call, "format.list", "ledger", self._s.ledger.origin, results=len(unknown) + len(own)
        )
        return UnknownAnswer(unknown, own, list(f.problems))

    async def suggestion(self, call: Call[Empty, Empty]) -> Suggestion:
        id = str(call.path["id"])
        found = await self._s.blocking(lambda: self._s.formats.suggestion(id, call.identity.name))
        await self._s.recorder.note(
            call, "format.view", "record_group", id, source=found.group.source, results=len(found.preview)
        )
        return found

    async def try_out(self, call: Call[Empty, TryBody]) -> TriedAnswer:
        id, text, entry = str(call.path["id"]), call.body.text, call.body.entry
        if bool(text) == bool(entry):
            raise RejectedError("give the text of an entry, or the name of one, and not both", field="text")
        f = self._s.formats
        found = await self._s.blocking(
            lambda: f.try_entry(entry, f.samples(id)) if entry else f.try_out(text, f.samples(id))
        )
        await self._s.recorder.note(call, "format.view", "record_group", id, results=len(found), entry=entry)
        return TriedAnswer(found)

    async def read_as(self, call: Call[Empty, ReadAsBody]) -> ReadAsAnswer:
        source, wanted = str(call.path["id"]), call.body.format
        before, now = await self._s.blocking(lambda: self._s.formats.read_as(source, wanted))
        await self._s.recorder.note(call, "source.change", "source", source, format=now, before=before)
        return ReadAsAnswer(source, now, before)

    async def accept(self, call: Call[Empty, AcceptBody]) -> AcceptedAnswer:
        b = call.body
        entry = await self._s.blocking(lambda: self._s.formats.accept(b.text, b.source))
        digest = hashlib.sha256(b.text.encode()).hexdigest()
        await self._s.recorder.note(call, "format.accept", "format", entry.name, text_sha256=digest, source=b.source)
        return AcceptedAnswer(entry.name, entry.title)

    async def remove(self, call: Call[Empty, Empty]) -> AcceptedAnswer:
        name = str(call.path["id"])
        own = await self._s.blocking(lambda: self._s.formats.remove(name))
        digest = hashlib.sha256(own.text.encode()).hexdigest()
        await self._s.recorder.note(call, "format.remove", "format", name, text_sha256=digest)
        return AcceptedAnswer(own.name, own.title)
