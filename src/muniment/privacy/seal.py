"""Personal values are taken out of the record's text and put back byte for byte. Pure.

A whole value becomes `{"$sealed":k}`, a value inside a longer string `{$sealed:k}`; every other byte stays. The same
value is hidden wherever the record repeats it, also under other keys, in messages and in keys of maps. Short values
(below SEAL_MENTION_CHARS_MIN) are hidden only as whole values, unless a pattern found them in a text.

Two ways. When every value is a plain string that occurs only as a whole value, replacing its token is right: a token
that starts with a quote and a letter or digit cannot begin at a closing quote. All else goes the careful way, which
knows by the parity of quotes whether a place lies inside a string. Numbers skip those a record already uses.
Stops at: other spellings of a person than the value itself (a nickname, another letter case) in free text.
"""

from __future__ import annotations

import html
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import re2

from muniment.envelope import ENVELOPES, Payload, payloads
from muniment.errors import RejectedError
from muniment.limits import SEAL_MENTION_CHARS_MIN, SEAL_PATTERNS_AT_ONCE_MIN, SEAL_PATTERNS_BYTES_MAX
from muniment.patterns import compiled_pattern
from muniment.privacy.addresses import addresses
from muniment.privacy.places import Reader, Spans, has_twins, spans
from muniment.privacy.plain import Groups, PlainSealer
from muniment.privacy.plan import PersonalText, SealPlan, Step
from muniment.spelling import letters, spellings

__all__ = ["Groups", "Sealer", "parse_part", "seal_places", "unseal"]

_NUMBERS = re.compile(rb'\$sealed"?\s*:\s*(\d{1,18})')
_PLACEHOLDER = re.compile(rb'\{"\$sealed":(\d+)\}|\{\$sealed:(\d+)\}')
_PLAIN = re.compile(rb'"[A-Za-z0-9][^"\\]*"')
_BECAME_KEY = re.compile(rb"\}\s*:")
_SAYS_SOMETHING = re.compile(rb"[0-9A-Za-z\x80-\xff]")
_WORD = re.compile(rb"[A-Za-z_]+")
_ENVELOPES = compiled_pattern(ENVELOPES.encode())
_ESCAPE = re.compile(rb"(?:[\\\x01](?:[bfnrt]|u[0-9a-fA-F]{4})|%[0-9a-fA-F]{2})\Z")  # \x01: in a text inside a text
_KEY_FOLLOWS = re.compile(rb'"\s*:')


@dataclass(frozen=True, slots=True)
class _Value:
    raw: bytes  # JSON text, with quotes when it is a string
    owner: str
    is_found_in_text: bool = False


class Patterns:
    """The patterns over one place, tried all at once where they are many: most texts have nothing of what they look for."""

    def __init__(self, numbers: Sequence[int], texts: Sequence[PersonalText]) -> None:
        """`numbers` of those `texts` that are about the place."""
        self._numbers = numbers
        self._set: Any = None
        if len(numbers) >= SEAL_PATTERNS_AT_ONCE_MIN:
            options = re2.Options()
            options.max_mem = SEAL_PATTERNS_BYTES_MAX
            options.log_errors = False
            self._set = re2.Set.SearchSet(options)
            for number in numbers:
                self._set.Add(texts[number].pattern.pattern)
            self._set.Add("")  # matches always: an answer without it says that the engine gave up
            self._set.Compile()

    def that_match(self, text: bytes) -> Sequence[int]:
        """Numbers of the patterns that are in a text in UTF-8, and maybe of others."""
        if self._set is None:
            return self._numbers
        met = self._set.Match(text) or ()
        if len(self._numbers) not in met:
            return self._numbers
        return [self._numbers[n] for n in met if n < len(self._numbers)]


class Sealer:
    """Seals the records of one plan; compiled once, no state between records."""

    def __init__(self, plan: SealPlan) -> None:
        places: dict[tuple[Step, ...], int] = {}
        for field in plan.fields:
            places.setdefault(field.path, len(places))
            if field.subject is not None:
                places.setdefault(field.subject, len(places))
        for text in plan.texts:
            places.setdefault(text.path, len(places))
        self._paths = tuple(places)
        self._reader = Reader(self._paths)
        self._spans = Spans(self._paths)
        at_place = defaultdict[int, list[tuple[int, int, int]]](
            list
        )  # (order in the plan, place, place of the subject)
        for order, f in enumerate(plan.fields):
            place = places[f.path]
            at_place[place].append((order, place, -1 if f.subject is None else places[f.subject]))
        self._fields = dict(at_place)
        # A place that is wanted whole and below: when it holds an object, the places below say what is personal in it.
        above = {path[:end] for path in places for end in range(1, len(path))}
        inner = {form for path in above for form in _forms(path, self._reader.letters_of)}
        self._outer = {n for path, n in places.items() if next(_forms(path, {})) in inner}
        self._plain = PlainSealer(plan)
        self._names = frozenset(name.encode() for path in self._paths for step in path for name in _keys(step))
        self._texts = [
            (t.pattern, _number(t, t.value), None if t.subject is None else _number(t, t.subject), t.owner)
            for t in plan.texts
        ]
        at = defaultdict[int, list[int]](list)
        for number, text in enumerate(plan.texts):
            at[places[text.path]].append(number)
        self._found_by = [(place, Patterns(numbers, plan.texts)) for place, numbers in at.items()]
        self._opens = plan.opens
        self._has_addresses = plan.has_addresses

    def seal(self, record: bytes) -> tuple[bytes, Groups]:
        """The record with placeholders, and what was taken out. Unchanged when nothing personal is in it.

        Raises:
            RejectedError: not one JSON object in UTF-8.
        """
        insides = payloads(record) if self._opens and _ENVELOPES.search(record) is not None else []
        if not insides and (plain := self._plain.seal(record)) is not None and not self._has_address(plain[0]):
            return plain
        found = self._reader.read(record)
        if has_twins(record, self._names):
            every = ((n, [record[a:b] for a, b in where]) for n, where in self._spans.of(record).items())
            found = {n: kept for n, raws in every if (kept := [raw for raw in raws if raw != b"null"])}
        values: dict[bytes, _Value] = {}
        odd: dict[int, str] = {}  # place -> owner, for values that are not strings
        is_plain = b"$sealed" not in record
        for _, place, subject in sorted(field for at in found for field in self._fields.get(at, ())):
            for raw in found[place]:
                if raw[0] in b"{[" and place in self._outer:
                    continue
                if raw[0] != 0x22:
                    odd[place] = self._owner(found, subject, raw)
                elif raw != b'""' and raw not in values:
                    values[raw] = _Value(raw, self._owner(found, subject, raw))
                    is_plain = is_plain and _PLAIN.fullmatch(raw) is not None
        for token, owner in self._in_texts(found):
            if token not in values or not values[token].is_found_in_text:
                values[token] = _Value(token, values[token].owner if token in values else owner, True)
                is_plain = False
        whole = [(span, owner) for place, owner in odd.items() for span in spans(record, self._paths[place])]
        for inside in insides:
            personal = list(self._in_payload(inside))
            if inside.coded:
                whole += self._coded_in(inside, personal, record)
            for value in personal:
                if value.raw not in values or value.is_found_in_text:
                    values[value.raw] = value
                    is_plain = False
            if not inside.escapes:
                whole += self._odd_in(inside.body, record)
        for spelled, owner in addresses(record) if self._has_addresses else ():
            token = b'"%b"' % spelled
            if token not in values:
                values[token] = _Value(token, owner, True)
                is_plain = is_plain and token in record and _PLAIN.fullmatch(token) is not None
        if not values and not whole:
            return record, {}
        if is_plain and not whole:
            sealed = _replace(record, values)
            if sealed is not None:
                return sealed
        return _splice(record, list(values.values()), whole)

    def _has_address(self, record: bytes) -> bool:
        return self._has_addresses and next(addresses(record), None) is not None

    def _in_payload(self, inside: Payload) -> Iterator[_Value]:
        """What is personal in a payload, as it is written in the record around it."""
        found = self._reader.read(inside.body)
        for _, place, subject in sorted(field for at in found for field in self._fields.get(at, ())):
            for raw in found[place]:
                is_string = raw[0] == 0x22
                if raw == b'""' or (raw[0] in b"{[" and place in self._outer) or not (is_string or inside.escapes):
                    continue
                owner = self._owner(found, subject, raw)
                if inside.is_rewritten:
                    found_in = [text for text in _in_markup(raw) if _SAYS_SOMETHING.search(text)]
                    yield from (
                        _Value(t, owner, True) for text in found_in for t in _within(text[1:-1], inside.escapes)
                    )
                    continue
                if not inside.escapes:
                    yield _Value(raw, owner)
                    continue
                # A short one only as a whole value: with the quotes around it, which are characters here.
                text = raw[1:-1] if is_string and len(raw) >= SEAL_MENTION_CHARS_MIN + 2 else raw
                if is_string or len(text) >= SEAL_MENTION_CHARS_MIN:
                    yield from (_Value(token, owner, True) for token in _within(text, inside.escapes))
        for token, owner in self._in_texts(found):
            for text in _spellings(token) if inside.escapes else ():
                yield from (_Value(each, owner, True) for each in _within(text, inside.escapes))
            if not inside.escapes:
                yield _Value(token, owner, True)

    def _coded_in(
        self, inside: Payload, personal: Sequence[_Value], record: bytes
    ) -> Iterator[tuple[tuple[int, int], str]]:
        """(place in the record, owner) of a text that stands there as numbers: nothing in it can be found, so it goes as a whole."""
        owners = [value.owner for value in personal]
        owners += [owner for _, owner in addresses(inside.body)] if self._has_addresses else []
        at = record.find(inside.coded) if owners else -1
        while at >= 0:
            yield (at, at + len(inside.coded)), owners[0]
            at = record.find(inside.coded, at + len(inside.coded))

    def _odd_in(self, body: bytes, record: bytes) -> Iterator[tuple[tuple[int, int], str]]:
        """(place in the record, owner) of the values of a payload, an object of the record, that are no strings."""
        found, offset = self._reader.read(body), record.find(body)
        if offset < 0:  # put together from the record's values, of which the strings are found by themselves
            return
        for at, raws in found.items():
            for _, place, subject in self._fields.get(at, ()):
                if raws[0][0] == 0x22 or (raws[0][0] in b"{[" and place in self._outer):
                    continue
                owner = self._owner(found, subject, raws[0])
                yield from (((a + offset, b + offset), owner) for a, b in spans(body, self._paths[place]))

    def _in_texts(self, found: Mapping[int, Sequence[bytes]]) -> Iterator[tuple[bytes, str]]:
        """(JSON token, owner) of what patterns find in strings, in the order of the plan."""
        hits = [
            (number, order, text)
            for place, patterns in self._found_by
            for order, raw in enumerate(found.get(place, ()))
            if raw[0] == 0x22
            for text in (_as_bytes(raw),)
            for number in patterns.that_match(text)
        ]
        hits.sort()
        for number, _, text in hits:
            pattern, group, subject, spelled = self._texts[number]
            for match in pattern.finditer(text):  # of bytes: the engine's offsets need not be counted in characters
                found_value = match.group(group)
                if found_value and _SAYS_SOMETHING.search(found_value):
                    value = found_value.decode()
                    owner = match.group(subject) if subject is not None else None
                    yield msgspec.json.encode(value), owner.decode() if owner else spelled(value)

    @staticmethod
    def _owner(found: Mapping[int, Sequence[bytes]], subject: int, raw: bytes) -> str:
        named = found.get(subject, ())
        return _as_text(named[0] if named else raw)


def _number(text: PersonalText, group: int | str) -> int:
    """A group by its number: looking up its name costs more than finding it."""
    return group if isinstance(group, int) else int(text.pattern.groupindex[group])


def _keys(step: Step) -> tuple[str, ...]:
    if isinstance(step, tuple):
        return spellings(step[0]) if len(step) == 1 else (step[0],)
    return (step,) if isinstance(step, str) else ()


def _forms(path: Sequence[Step], letters_of: Mapping[str, str]) -> Iterator[tuple[Step, ...]]:
    """The places that a path goes through: also plain keys that are the commonest spellings of its names, and the other way round.

    Rarer spellings that an entry seals whole stay so: that a name in general is looked into says nothing of them.
    """
    return itertools.product(*(_same(step, letters_of) for step in path))


def _same(step: Step, letters_of: Mapping[str, str]) -> tuple[Step, ...]:
    if isinstance(step, tuple) and len(step) == 1:
        return ((letters(step[0]),), *spellings(step[0])[:2])
    name = letters_of.get(step) if isinstance(step, str) else None
    return (step,) if name is None else (step, (name,))


def seal_places(record: bytes, paths: Sequence[tuple[Step, ...]], owner: str) -> tuple[bytes, Groups]:
    """Seal whole values at `paths`, whatever they are, as one owner's."""
    return _splice(record, [], [(span, owner) for path in paths for span in spans(record, path)])


def unseal(record: bytes, values: Mapping[bytes, bytes]) -> bytes:
    """Put values back: `values` maps the number as text to the raw JSON value. Unknown numbers stay placeholders."""

    def restored(match: re.Match[bytes]) -> bytes:
        whole, inline = match.groups()
        raw = values.get(whole or inline)
        if raw is None:
            return match.group()
        return raw if whole else raw[1:-1]

    return _PLACEHOLDER.sub(restored, record)


def _within(text: bytes, times: int) -> list[bytes]:
    """A text of a payload as tokens of the record that it stands in so many strings of, however each of them is spelled."""
    tokens = [b'"%b"' % text] if not times else [msgspec.json.encode(text.decode())]
    for _ in range(times - 1):
        tokens = [msgspec.json.encode(each.decode()) for token in tokens for each in _spellings(token)]
    return tokens


def _in_markup(raw: bytes) -> set[bytes]:
    """A string as it may be written in XML."""
    text = str(msgspec.json.decode(raw))
    return {msgspec.json.encode(html.escape(text, quote=quoted)) for quoted in (True, False)} | {raw}


def _as_text(raw: bytes) -> str:
    """A raw value as an identifier: a string's content, else the JSON text itself."""
    if raw[0] == 0x22:
        return raw[1:-1].decode() if b"\\" not in raw else str(msgspec.json.decode(raw))
    return raw.decode()


def _as_bytes(raw: bytes) -> bytes:
    """A raw string's content in UTF-8."""
    return raw[1:-1] if b"\\" not in raw else str(msgspec.json.decode(raw)).encode()


def _replace(record: bytes, values: Mapping[bytes, _Value]) -> tuple[bytes, Groups] | None:
    """The quick way, or None when a value also stands somewhere that is not a whole value."""
    groups: Groups = {}
    has_escapes = b"\\" in record
    out = record
    for number, (raw, value) in enumerate(values.items(), 1):
        if has_escapes and (
            b"\\" + raw in record or (not raw.isascii() and b"\\u" in record) or (b"/" in raw and b"\\/" in record)
        ):
            return None
        out = out.replace(raw, b'{"$sealed":%d}' % number)
        groups.setdefault(value.owner, {})[number] = raw
    for raw in values:
        if len(raw) >= SEAL_MENTION_CHARS_MIN + 2 and raw[1:-1] in out:
            return None
    if _BECAME_KEY.search(out):
        return None
    return out, groups


def _mask(text: bytes) -> bytes:
    """The same length, with escaped backslashes and quotes blanked: what is left of quotes are borders of strings."""
    return text.replace(b"\\\\", b"\x00\x01").replace(b'\\"', b"\x02\x03") if b"\\" in text else text


def _spellings(raw: bytes) -> list[bytes]:
    """A string's content as it may be written: as found, all escaped, least escaped, with escaped slashes."""
    if b"\\" not in raw and b"/" not in raw and raw.isascii():
        return [raw[1:-1]]
    text = msgspec.json.decode(raw)
    escaped = json.dumps(text)[1:-1].encode()
    plain = msgspec.json.encode(text)[1:-1]
    return list(dict.fromkeys((raw[1:-1], escaped, plain, plain.replace(b"/", b"\\/"), escaped.replace(b"/", b"\\/"))))


def _splice(
    record: bytes, values: Sequence[_Value], whole: Sequence[tuple[tuple[int, int], str]]
) -> tuple[bytes, Groups]:
    """The careful way: every edit is a byte range known to be a whole value or inside a string."""
    masked = _mask(record)
    edits: list[tuple[int, int, int, int, str, bytes]] = []  # rank, -length, start, end, owner, raw
    edits += [(0, start - end, start, end, owner, record[start:end]) for (start, end), owner in whole]
    for value in values:
        for text in _spellings(value.raw):
            for is_whole, start, end in _occurrences(masked, text, value.is_found_in_text):
                edits.append((1 if is_whole else 2, start - end, start, end, value.owner, b'"' + text + b'"'))
    if not edits:
        return record, {}
    edits.sort()
    taken: list[tuple[int, int, int, str, bytes]] = []
    for rank, _, start, end, owner, raw in edits:
        if all(end <= other[0] or start >= other[1] for other in taken):
            taken.append((start, end, rank, owner, raw))
    taken.sort()
    number = 1 + max((int(found) for found in _NUMBERS.findall(record)), default=0)
    numbers: dict[tuple[str, bytes], int] = {}
    groups: Groups = {}
    pieces: list[bytes] = []
    at = 0
    for start, end, rank, owner, raw in taken:
        k = numbers.setdefault((owner, raw), number + len(numbers))
        groups.setdefault(owner, {})[k] = raw
        pieces += (record[at:start], b"{$sealed:%d}" % k if rank == 2 else b'{"$sealed":%d}' % k)
        at = end
    pieces.append(record[at:])
    return b"".join(pieces), groups


def _occurrences(masked: bytes, text: bytes, is_short_allowed: bool) -> list[tuple[bool, int, int]]:
    """(is a whole value, start, end) of each place where `text` stands inside a string of the masked record."""
    wanted = _mask(text)
    n, found = len(wanted), []
    is_word = _WORD.fullmatch(text) is not None
    at = masked.find(wanted)
    while at >= 0:
        end = at + n
        if masked.count(b'"', 0, at) % 2:
            is_key = _KEY_FOLLOWS.match(masked, masked.find(b'"', end)) is not None
            if masked[at - 1] == 0x22 and masked[end] == 0x22:
                if not is_key:
                    found.append((True, at - 1, end + 1))
                elif not is_word:  # a map keyed by a person; a plain word as a key is part of the form
                    found.append((False, at, end))
            elif (
                not (is_key and is_word)
                and (is_short_allowed or n >= SEAL_MENTION_CHARS_MIN)
                and _is_token(masked, at, end)
            ):
                found.append((False, at, end))
        at = masked.find(wanted, at + 1)
    return found


def _is_token(masked: bytes, start: int, end: int) -> bool:
    """Whether the range is not part of a longer word, and does not begin inside an escape."""
    if masked[start - 1] == 0x5C:
        return False  # the letter belongs to the escape, as in `\\n`
    escape = masked.rfind(b"\\u", max(0, start - 6), start)
    if escape >= 0 and escape + 6 > start:
        return False
    if (
        _in_word(masked[start])
        and _ends_in_word(masked, start)
        and not _ESCAPE.search(masked, max(0, start - 7), start)
    ):
        return False
    return not (_in_word(masked[end - 1]) and _begins_in_word(masked, end))


def _ends_in_word(masked: bytes, end: int) -> bool:
    """Is the character before `end` one of a word?"""
    if masked[end - 1] < 128:
        return _in_word(masked[end - 1])
    return masked[max(0, end - 4) : end].decode(errors="ignore")[-1:].isalnum()


def _begins_in_word(masked: bytes, start: int) -> bool:
    if masked[start] < 128:
        return _in_word(masked[start])
    return masked[start : start + 4].decode(errors="ignore")[:1].isalnum()


def _in_word(byte: int) -> bool:
    return 48 <= byte <= 57 or 65 <= byte <= 90 or 97 <= byte <= 122 or byte == 95 or byte >= 128


class _Part(msgspec.Struct):
    s: str
    v: dict[str, msgspec.Raw]


_PART = msgspec.json.Decoder(_Part)


def parse_part(plaintext: bytes) -> dict[bytes, bytes]:
    """The values of a part's plaintext `{"s":...,"v":{"1":...}}` by number."""
    try:
        part = _PART.decode(plaintext)
    except msgspec.DecodeError as error:
        raise RejectedError(f"not a personal part: {error}") from None
    return {number.encode(): bytes(raw) for number, raw in part.v.items()}
