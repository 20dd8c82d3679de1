"""A TOML file read key by key, so that a mistake is told with file, line, column and how to mend it. Pure but for one read.

A leaf: every file that an operator writes is read by it, whichever room the file is for.

The parser keeps no places, but it knows them: the key stands in the last statement of the shortest beginning of the file that
parses and has it. So nothing here reads TOML by itself, and a text that looks like a key is never taken for one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

from muniment.errors import ConfigError, RejectedError

__all__ = ["MistakeError", "Table", "place_of", "read_toml"]

T = TypeVar("T")
Step = str | int
_AT: Final = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_MISSING: Final = object()


class MistakeError(Exception):
    """What is wrong at `path` (keys and positions in lists, from 0), and how to mend it."""

    def __init__(self, path: Sequence[Step], reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.path = tuple(path)
        self.reason = reason
        self.fix = fix


class Table:
    """One table. What it is asked for is checked; what nobody asked for is a mistake, told by `done`."""

    def __init__(self, given: Mapping[str, Any], path: Sequence[Step] = ()) -> None:
        self._given = given
        self._path = tuple(path)
        self._asked: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        self._asked[key] = None
        return key in self._given

    def raw(self, key: str) -> Any:
        """What stands there, unchecked; None when nothing does."""
        return self._given.get(key)

    def mistake(self, key: Step, reason: str, fix: str = "", *further: Step) -> MistakeError:
        """One about this key, or further down."""
        return MistakeError((*self._path, key, *further), reason, fix)

    def _get(self, key: str, default: Any, kind: type | tuple[type, ...], words: str) -> Any:
        self._asked[key] = None
        value = self._given.get(key, default)
        if value is _MISSING:
            raise MistakeError(self._path, f"{key} is missing", f"add a line such as: {key} = {words}")
        if value is not default and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise self.mistake(key, f"got {_shown(value)}", f"write it as in: {key} = {words}")
        return value

    def text(self, key: str, default: Any = _MISSING, example: str = '"..."') -> str:
        """A text."""
        return str(self._get(key, default, str, example))

    def whole(self, key: str, example: str) -> int:
        """A whole number, of which others say how large it may be."""
        return int(self._get(key, _MISSING, int, example))

    def number(self, key: str, low: int, high: int, default: Any = _MISSING) -> int:
        """A whole number from `low` to `high`."""
        value = int(self._get(key, default, int, str(high)))
        if not low <= value <= high:
            raise self.mistake(key, f"got {value}", f"give a number from {low} to {high}")
        return value

    def flag(self, key: str, default: Any = _MISSING) -> bool:
        """True or false."""
        return bool(self._get(key, default, bool, "true"))

    def word(self, key: str, words: Sequence[str], default: Any = _MISSING) -> str:
        """One of some words."""
        value = self.text(key, default, f'"{words[0]}"')
        if value not in words:
            raise self.mistake(key, f"got {value!r}", f"{_near(value, words)}there are {', '.join(words)}")
        return value

    def texts(self, key: str, default: Any = _MISSING, example: str = '["..."]') -> list[str]:
        """A list of texts that is not empty."""
        found = self._get(key, default, list, example)
        for number, each in enumerate(found):
            if not isinstance(each, str):
                raise self.mistake(key, f"got {each!r}", f"write texts, as in: {key} = {example}", number)
        if not found and found is not default:
            raise self.mistake(key, "got an empty list", f"write it as in: {key} = {example}, or leave it out")
        return list(found)

    def content(self, key: str, example: str) -> str:
        """The text of the file that is named here, without space around it."""
        path = self.text(key, example=f'"{example}"')
        try:
            return Path(path).read_text("utf-8").strip()
        except OSError as error:
            raise self.mistake(
                key,
                f"cannot read {path}: {error.strerror}",
                "let the server's user read it, or correct the path",
            ) from error
        except ValueError as error:
            raise self.mistake(key, f"{path} is not a text", "save it as UTF-8") from error

    def tables(self, key: str) -> Iterator[tuple[str, Table]]:
        """The named tables below a key; none when it is not there."""
        for name, each in self._get(key, {}, dict, "a table").items():
            if not isinstance(each, dict):
                raise self.mistake(key, f"got {each!r}", f"begin a table with [{key}.{name}]", name)
            yield name, Table(each, (*self._path, key, name))

    def rows(self, key: str) -> Iterator[Table]:
        """The tables of a list; none when it is not there."""
        for number, each in enumerate(self._get(key, [], list, "a table")):
            if not isinstance(each, dict):
                raise self.mistake(key, f"got {each!r}", f"begin each with [[{key}]]", number)
            yield Table(each, (*self._path, key, number))

    def done(self, known: str = "") -> None:
        """Raise MistakeError when something stands here that nobody asked for: misspelt, it would be overlooked in silence.

        `known` says what there is, where that is too much to list.
        """
        for key in self._given:
            if key not in self._asked:
                fix = _near(key, list(self._asked)) + (known or f"there are {', '.join(self._asked)}")
                raise self.mistake(key, f"there is no {key!r} here", fix)

    @contextmanager
    def checking(self, names: Mapping[str, str] | None = None) -> Iterator[None]:
        """What others refuse of the values of this table, as mistakes at their keys. `names`: keys by what those call them."""
        try:
            yield
        except (ConfigError, RejectedError) as error:
            name = error.setting if isinstance(error, ConfigError) else error.field
            key = (names or {}).get(name, name)
            reason = str(error).removeprefix(f"{name}: ")
            raise (self.mistake(key, reason) if key in self._given else MistakeError(self._path, reason)) from error


def read_toml(path: Path, setting: str, build: Callable[[Table], T]) -> T:
    """What `build` makes of the file.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong: `file:line:column: key: reason; how to mend it`.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; let the server's user read it, or correct the setting",
            setting=setting,
        ) from error
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: {error.reason}; save the file as UTF-8", setting=setting) from error
    text = text.replace("\r\n", "\n")
    try:
        given = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT.search(str(error))
        line, column = (int(at[1]), int(at[2])) if at and at[1] else (text.rstrip("\n").count("\n") + 1, 0)
        place = f"{path}:{line}:{column}" if column else f"{path}:{line}"
        reason = str(error)[: at.start()] if at else str(error)
        raise ConfigError(f"{place}: {reason}; {_syntax_fix(str(error))}", setting=setting) from error
    try:
        return build(Table(given))
    except MistakeError as mistake:
        line, column = place_of(text, mistake.path)
        fix = f"; {mistake.fix}" if mistake.fix else ""
        raise ConfigError(
            f"{path}:{line}:{column}: {_name(mistake.path)}: {mistake.reason}{fix}", setting=setting
        ) from mistake


def place_of(text: str, path: Sequence[Step]) -> tuple[int, int]:
    r"""Line and column, from 1, of what stands at `path`, or of what is nearest above it. `text` must parse, lines end with `\n`.

    >>> place_of('[channels.soc]\nkind = "slack"\n[[routes]]\nchannels = [\n  "soc", "duty"]\n', ("routes", 0, "channels", 1))
    (5, 10)
    """
    lines = text.split("\n")
    whole = tomllib.loads(text)
    path = tuple(path)
    while path and not _has(whole, path):
        path = path[:-1]
    if not path:
        return 1, 1
    first, last = _statement(lines, path)
    statement = "\n".join(lines[first:last])
    offset = _offset(statement, path, whole)
    return first + statement.count("\n", 0, offset) + 1, offset - (statement.rfind("\n", 0, offset) + 1) + 1


def _statement(lines: Sequence[str], path: Sequence[Step]) -> tuple[int, int]:
    """The lines, half-open, of the statement that makes `path`. By halves: few parses also of a long file."""

    def has(n: int) -> bool | None:
        try:
            return _has(tomllib.loads("\n".join(lines[:n])), path)
        except tomllib.TOMLDecodeError:
            return None  # n is inside of a statement

    low, bound, last = 0, len(lines), len(lines)
    while low + 1 < bound:
        middle = (low + bound) // 2
        probe = middle
        while probe < bound and (found := has(probe)) is None:
            probe += 1
        if probe < bound and not found:
            low = probe
        else:
            last, bound = (probe if probe < bound else last), middle
    first = last - 1
    while first and has(first) is None:
        first -= 1
    return first, last


def _has(value: Any, path: Sequence[Step]) -> bool:
    for step in path:
        if isinstance(value, list):
            value = dict(enumerate(value))
        if not isinstance(value, dict) or step not in value:
            return False
        value = value[step]
    return True


def _offset(statement: str, path: Sequence[Step], whole: Any) -> int:
    """Where in its statement the last of `path` stands; the statement's beginning where that is not certain."""
    step: Any = path[-1]
    value: Any = whole
    for each in path:
        value = value[each]
    if isinstance(step, str):
        pattern = rf"(?<![\w\"'-])[\"']?{re.escape(step)}[\"']?[ \t]*="
    else:
        pattern = rf"\"{re.escape(value)}\"|'{re.escape(value)}'" if isinstance(value, str) else r"(?!)"
    found = [match.start() for match in re.finditer(pattern, statement)]
    return found[0] if len(found) == 1 else len(statement) - len(statement.lstrip())


def _name(path: Sequence[Step]) -> str:
    """As people write it: positions from 1.

    >>> _name(("routes", 0, "severity"))
    'routes 1.severity'
    """
    return ".".join(map(str, path[:1])) + "".join(f" {s + 1}" if isinstance(s, int) else f".{s}" for s in path[1:])


def _shown(value: object) -> str:
    return str(value) if isinstance(value, date) else repr(value)


def _near(wrong: str, known: Sequence[str]) -> str:
    found = get_close_matches(wrong.lower(), known, 1, 0.7)
    return f"did you mean {found[0]}? " if found else ""


def _syntax_fix(said: str) -> str:
    low = said.lower()
    if "unclosed" in low or "unterminated" in low or "end of document" in low:
        return "close the bracket or the quote that was opened"
    if "overwrite" in low or "twice" in low or "duplicate" in low:
        return "take one of the two out"
    if "invalid value" in low:
        return 'put texts in quotes, as in: host = "mail.example.com"'
    return "write lines as in: key = value, and tables as in: [channels.soc]"
