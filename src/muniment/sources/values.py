r"""Values and conditions of the catalogue language: parsed from YAML, checked, and written as SQL. Pure.

A value is
    a bare text            a path into the record (see `paths`); `{user,actor}.{id,uid}` is the list of its four paths,
                           `~user.full_name` stands for its keys in all usual spellings
    =text, or a number     a constant
    $name                  another column of the same entry, or one of its `let` names
    a list                 the first of its values that is not empty
    {op: value, ...}       one of the operators below

    {lookup: V, table: {from: to}, else: V}   a table; without `else`, nothing
    {capture: V, pattern: RE2}                the first group of an RE2 pattern
    {template: "{path} of {$name}"}           text with values in it; empty when all its values are empty
    {unhex: V}                                hexadecimal digits as the text they stand for; empty when they are none
    {packed: V} {number: V}                   an IPv4 or IPv6 address, a number, of its bytes in hexadecimal, network order
    {unescaped: V}                            `a\=b` as `a=b`, as CEF escapes what its own syntax has
    {argv: V}                                 the arguments a0="..." a1=HEX ... of a command, with blanks between
    {other: V, than: W}                       V, unless W is the same
    {lower: V} {dotted: V} {camel: V}         lower case; "User: Login" -> user.login; "CreateUser" -> user.create
    {moment: V}                               the first moment that stands in a line of text, in one of many forms
    {named: V} {deed: V}                      "UserLoggedIn" -> user_logged_in; the act that a name or sentence says: user.login
    {ending: V}                               success or failure, when the name itself says so ("login_failed")
    {first: L} {plain: L} {object: L} {address: L}   the first of a long list that is filled; is a plain text; an object or
                                              array; an IP address
    {below: [path], in: V}                    the first filled path in a text that is an object, or an array of them;
                                              with `as: object` the first that is itself an object or array
    {country: V}                              a country's name or code as ISO 3166-1 alpha-2
    {outcome: V} {severity: V}                the words of the trade -> success/failure/unknown, 0..6
    {class: V} {activity: V}                  the OCSF class_uid and activity_id of an action noun.verb

A condition is a mapping of value -> test (all must hold) or a list of such (one must hold). A test is a text or number
(equals), a list (one of), or {present: bool}, {matches: RE2}, {contains: text}, {starts: text}, {not: test}.

A path may be known not to be there (`Scope.spelled`); then what stands on it is worked out here, not by the engine: a
mapping that knows eight hundred keys is as short, for records with eight of them, as one that knows eight.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from muniment.errors import RejectedError
from muniment.patterns import PatternError, compiled_pattern
from muniment.sources.calls import CALLS
from muniment.sources.paths import Segment, TypeTree, parse_path, spelled
from muniment.sources.sql import EMPTY, array, first_filled, literal, quote

__all__ = [
    "Capture",
    "Condition",
    "Const",
    "First",
    "Path",
    "Ref",
    "Scope",
    "Test",
    "Value",
    "parse_condition",
    "parse_value",
    "pattern_sql",
    "spread",
    "walk",
]


@dataclass(frozen=True, slots=True)
class Scope:
    """What the SQL of a value may refer to."""

    path: Callable[[tuple[Segment, ...]], str]
    """What to write for a path of plain keys."""
    ref: Callable[[str], str]
    part: Callable[[str], str] = str
    """May give a part that is read from many places a name of its own; returns what to write."""
    spelled: Callable[[tuple[Segment, ...]], Sequence[tuple[Segment, ...]]] = spelled
    """The paths of plain keys that a path stands for and that may hold something."""


@dataclass(frozen=True, slots=True)
class Path:
    segments: tuple[Segment, ...]

    def sql(self, scope: Scope) -> str:
        return first_filled([scope.path(path) for path in scope.spelled(self.segments)])


@dataclass(frozen=True, slots=True)
class Const:
    value: str | int

    def sql(self, scope: Scope) -> str:
        return literal(self.value)


@dataclass(frozen=True, slots=True)
class Ref:
    name: str

    def sql(self, scope: Scope) -> str:
        return scope.ref(self.name)


@dataclass(frozen=True, slots=True)
class First:
    values: tuple[Value, ...]

    def sql(self, scope: Scope) -> str:
        return first_filled([value.sql(scope) for value in self.values])


@dataclass(frozen=True, slots=True)
class Lookup:
    value: Value
    table: tuple[tuple[str, str], ...]
    default: Value

    def sql(self, scope: Scope) -> str:
        text = self.value.sql(scope)
        if text == EMPTY:
            of_nothing = dict(self.table).get("")
            return self.default.sql(scope) if of_nothing is None else quote(of_nothing)
        keys, to = array([k for k, _ in self.table]), array([v for _, v in self.table])
        return f"transform({text}, {keys}, {to}, {self.default.sql(scope)})"


@dataclass(frozen=True, slots=True)
class Capture:
    """Group `group` (from 1) of a pattern that has `n_groups`."""

    value: Value
    pattern: str
    group: int = 1
    n_groups: int = 1

    def sql(self, scope: Scope) -> str:
        text = self.value.sql(scope)
        if text == EMPTY:
            return EMPTY
        if self.n_groups == 1:
            return f"extract({text}, {pattern_sql(_ungrouped(self.pattern))})"
        return f"arrayElement(extractGroups({text}, {pattern_sql(self.pattern)}), {self.group})"


_GROUPED: Final = re.compile(
    r"((?:\(\?[ims]+\))?(?:\^|\\b)?)\((?!\?)((?:[^\\()\[\]]|\\.|\[\^?\]?(?:[^\]\\]|\\.)*\])*)\)((?:\$|\\b)?)", re.DOTALL
)


def _ungrouped(pattern: str) -> str:
    """The same without the group where it is all that the pattern takes: the engine needs half as long for a whole match.

    >>> _ungrouped(r"^([a-z]+)$"), _ungrouped(r"user=(\\w+)")
    ('^(?:[a-z]+)$', 'user=(\\\\w+)')
    """
    return _GROUPED.sub(r"\1(?:\2)\3", pattern) if _GROUPED.fullmatch(pattern) else pattern


@dataclass(frozen=True, slots=True)
class Template:
    parts: tuple[str | Value, ...]

    def sql(self, scope: Scope) -> str:
        whole = [quote(part) if isinstance(part, str) else part.sql(scope) for part in self.parts]
        values = [sql for sql, part in zip(whole, self.parts, strict=True) if not isinstance(part, str)]
        if values and all(sql == EMPTY for sql in values):
            return EMPTY
        whole = [sql for sql in whole if sql != EMPTY]
        empty = " AND ".join(f"{sql} = ''" for sql in values if sql != EMPTY) or "0"
        text = f"concat({', '.join(whole)})" if len(whole) > 1 else whole[0]
        return f"if({empty}, '', {text})"


@dataclass(frozen=True, slots=True)
class Other:
    """`value`, unless `than` is the same."""

    value: Value
    than: Value

    def sql(self, scope: Scope) -> str:
        value, than = self.value.sql(scope), self.than.sql(scope)
        return value if EMPTY in (value, than) else f"if({value} = {than}, '', {value})"


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    value: Value

    def sql(self, scope: Scope) -> str:
        text = self.value.sql(scope)
        if text == EMPTY:
            return "0" if self.name in ("severity", "class", "activity") else EMPTY
        return CALLS[self.name](text)


_FITTING: Final[Mapping[str, str]] = {
    "first": "",
    "plain": r"(?s)^[^{\[].*",
    "object": r"(?s)^[{\[].*",
    "address": r'^[\s\["]*(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*)(?:[\s\]"%,:/].*|$)',
}
_IS_OBJECT: Final = quote(r"^[{\[]")


def _first_fitting(texts: Sequence[str], name: str, part: Callable[[str], str]) -> str:
    """The first text that fits. Nearly always it is the first that is filled; the engine looks at each only where that one does not.

    Elements of an array would be shorter: the engine needs seconds to understand hundreds of them (measured).
    """
    if len(texts) < _MANY:
        return first_filled([_fitting(text if len(text) <= _SHORT else part(text), name) for text in texts])
    filled = part(first_filled(texts))
    first = part(_fitting(filled, name))
    each = first_filled([f"extract({text}, {quote(_FITTING[name])})" for text in texts])
    return f"if({first} != '' OR {filled} = '', {first}, {each})"


def _fitting(text: str, name: str) -> str:
    """The text where it fits, else ''. To take all of it with a pattern costs 60 ns, and a mapping asks dozens of times."""
    if name == "plain":
        return f"if(match({text}, {_IS_OBJECT}), '', {text})"
    if name == "object":
        return f"if(match({text}, {_IS_OBJECT}), {text}, '')"
    return f"extract({text}, {quote(_FITTING[name])})"


_SHORT: Final = 60
"""Characters of an expression that may stand twice."""
_MANY: Final = 3
_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True)
class Fitting:
    """The first of some values that is as it must be: plain, an object or array, an address, a word for an outcome."""

    name: str
    values: tuple[Value, ...]

    def sql(self, scope: Scope) -> str:
        texts = [text for value in self.values if (text := value.sql(scope)) != EMPTY]
        if not texts:
            return EMPTY
        if self.name == "first":
            return scope.part(first_filled(texts))
        if self.name == "deed" and len(texts) > _AT_ONCE:
            # The engine asks the others of those rows only where the first say nothing, and to ask takes a microsecond.
            first = scope.part(self._first_of(texts[:_AT_ONCE]))
            return scope.part(f"if({first} != '', {first}, {self._first_of(texts[_AT_ONCE:])})")
        if self.name in ("outcome", "deed"):
            return scope.part(self._first_of(texts))
        return scope.part(_first_fitting(texts, self.name, scope.part))

    def _first_of(self, texts: Sequence[str]) -> str:
        made = f"arrayMap(x -> {CALLS[self.name]('x')}, arrayFilter(x -> x != '', [{', '.join(texts)}]))"
        return f"arrayFirst(x -> x != '', {made})"


@dataclass(frozen=True, slots=True)
class Below:
    """The first filled of `paths` in a text that is an object, or in the first element of an array."""

    paths: tuple[tuple[Segment, ...], ...]
    value: Value
    fits: str = "plain"

    def sql(self, scope: Scope) -> str:
        each = [paths for path in self.paths if (paths := scope.spelled(path))]
        text = self.value.sql(scope) if each else EMPTY
        if text == EMPTY:
            return EMPTY
        first = scope.part(
            f"if(startsWith({text}, '['), arrayElement(JSONExtract({text}, 'Array(String)'), 1), {text})"
        )
        # Named as a column, and not the variable of a lambda: what is read from it is written once then (8 us a record).
        tree = TypeTree(each, root=scope.part(f"JSONExtract({first}, {quote(TypeTree(each).tuple_type)})"))
        texts = [first_filled([tree.sql(path) for path in some]) for some in each]
        found = _first_fitting(texts, self.fits, scope.part)
        return scope.part(found)


Value = Path | Const | Ref | First | Lookup | Capture | Template | Other | Call | Fitting | Below


def parse_value(raw: object) -> Value:
    """One value of the catalogue language. Raises RejectedError."""
    if isinstance(raw, bool) or raw is None:
        raise RejectedError(f"a value is a path, a constant or an operator, not {raw!r}")
    if isinstance(raw, int):
        return Const(raw)
    if isinstance(raw, str):
        if raw.startswith("="):
            return Const(raw[1:])
        if raw.startswith("$"):
            return Ref(raw[1:])
        paths = [Path(parse_path(each)) for each in spread(raw)]
        return First(tuple(paths)) if len(paths) > 1 else paths[0]
    if isinstance(raw, list):
        if not raw:
            raise RejectedError("an empty list has no first value")
        return First(tuple(map(parse_value, raw)))
    if isinstance(raw, Mapping):
        return _operator(raw)
    raise RejectedError(f"a value is a path, a constant or an operator, not {raw!r}")


def spread(text: str) -> list[str]:
    """The texts that one with alternatives in braces stands for, in the order they are written; blanks around them are layout.

    >>> spread("{user,actor}.{id,uid}")
    ['user.id', 'user.uid', 'actor.id', 'actor.uid']
    """
    before, brace, rest = text.partition("{")
    words, end, after = rest.partition("}")
    if not brace or not end or "`" in before:
        return [text]
    return [f"{before}{word.strip()}{tail}" for word in words.split(",") for tail in spread(after)]


def _operator(raw: Mapping[str, object]) -> Value:
    options = dict(raw)
    name = next(iter(options), "")
    argument = options.pop(name, None)
    value: Value
    inner = parse_value(argument) if name in _FITTING or name in ("outcome", "deed") else None
    if inner is not None and (name in _FITTING or isinstance(inner, First)):
        value = Fitting(name, tuple(_flat(inner)))
    elif name == "below":
        paths = tuple(found.segments for found in walk(parse_value(argument)) if isinstance(found, Path))
        wanted = options.pop("as", "plain")
        if wanted not in ("plain", "object"):
            raise RejectedError(f"below gives what is plain, or as: object, not {wanted!r}")
        value = Below(paths, parse_value(options.pop("in", None)), wanted)
    elif name in CALLS:
        value = Call(name, parse_value(argument))
    elif name == "lookup":
        table = options.pop("table", None)
        if not isinstance(table, Mapping) or not table:
            raise RejectedError("lookup needs a table")
        pairs = tuple((str(k), str(v)) for k, v in table.items())
        value = Lookup(parse_value(argument), pairs, parse_value(options.pop("else", "=")))
    elif name == "capture":
        pattern = check_pattern(options.pop("pattern", None))
        value = Capture(parse_value(argument), pattern)
        if compiled_pattern(pattern).groups != 1:
            raise RejectedError(f"capture needs a pattern with one group: {pattern!r}")
    elif name == "template":
        value = _template(argument)
    elif name == "other":
        value = Other(parse_value(argument), parse_value(options.pop("than", None)))
    else:
        raise RejectedError(
            f"no operator {name!r}; there are "
            f"{', '.join([*CALLS, *_FITTING, 'below', 'lookup', 'capture', 'template', 'other'])}"
        )
    if options:
        raise RejectedError(f"{name} does not take {', '.join(options)}")
    return value


def _flat(value: Value) -> list[Value]:
    return [each for one in value.values for each in _flat(one)] if isinstance(value, First) else [value]


def _template(raw: object) -> Template:
    if not isinstance(raw, str):
        raise RejectedError("template needs a text")
    pieces = re.split(r"\{([^{}]+)\}", raw)
    parts = [parse_value(piece) if k % 2 else piece for k, piece in enumerate(pieces)]
    return Template(tuple(part for part in parts if part != ""))


def pattern_sql(pattern: str) -> str:
    """The pattern as an SQL literal, its groups without their names.

    ClickHouse (26.7 and 26.9 alike) takes the name of a group for text that a match must contain, and finds nothing.
    """
    return quote(re.sub(r"\(\?P<[a-z_]+>", "(", pattern))


def check_pattern(raw: object) -> str:
    """An RE2 pattern, refused when RE2 cannot read it."""
    if not isinstance(raw, str) or not raw:
        raise RejectedError("a pattern is a text")
    try:
        compiled_pattern(raw)
    except PatternError as error:
        raise RejectedError(f"RE2 cannot read the pattern {raw!r}: {error}") from None
    return raw


@dataclass(frozen=True, slots=True)
class Test:
    """One test of a value; `kind` is one of in, present, matches, contains, starts."""

    value: Value
    kind: str
    wanted: tuple[str, ...]
    negated: bool = False

    @property
    def is_of_nothing(self) -> bool:
        """Does it hold where the value is missing?"""
        if self.kind == "present":
            found = False
        elif self.kind == "matches":
            found = compiled_pattern(self.wanted[0]).search("") is not None
        else:
            found = "" in self.wanted
        return found != self.negated

    def sql(self, scope: Scope) -> str:
        """A boolean expression; exactly `1` or `0` for what is known."""
        text = self.value.sql(scope)
        if text == EMPTY:
            return "1" if self.is_of_nothing else "0"
        if self.kind == "present":
            found = f"{text} != ''"
        elif self.kind == "in":
            quoted = ", ".join(map(quote, self.wanted))
            found = f"{text} = {quoted}" if len(self.wanted) == 1 else f"{text} IN ({quoted})"
        elif self.kind == "matches":
            found = f"match({text}, {pattern_sql(self.wanted[0])})"
        elif self.kind == "contains":
            found = f"position({text}, {quote(self.wanted[0])}) > 0"
        else:
            found = f"startsWith({text}, {quote(self.wanted[0])})"
        return f"NOT ({found})" if self.negated else found


@dataclass(frozen=True, slots=True)
class Condition:
    """Any of `any_of`, each of which is all of its tests."""

    any_of: tuple[tuple[Test, ...], ...]

    def sql(self, scope: Scope) -> str:
        """A boolean expression; exactly `1` or `0` for what is known."""
        found = []
        for tests in self.any_of:
            written = [test.sql(scope) for test in tests]
            if "0" in written:
                continue
            asked = [sql for sql in written if sql != "1"]
            if not asked:
                return "1"
            found.append(f"({' AND '.join(asked)})")
        return " OR ".join(found) or "0"


def parse_condition(raw: object) -> Condition:
    """One condition of the catalogue language. Raises RejectedError."""
    lines = raw if isinstance(raw, list) else [raw]
    any_of = []
    for line in lines:
        if not isinstance(line, Mapping) or not line:
            raise RejectedError(f"a condition is a mapping of path: test, not {line!r}")
        any_of.append(tuple(_test(parse_value(key), test) for key, test in line.items()))
    return Condition(tuple(any_of))


def _test(value: Value, raw: object, negated: bool = False) -> Test:
    if isinstance(raw, bool):
        return Test(value, "in", ("true" if raw else "false",), negated)
    if isinstance(raw, str | int):
        return Test(value, "in", (str(raw),), negated)
    if isinstance(raw, list) and raw:
        return Test(value, "in", tuple(map(_word, raw)), negated)
    if isinstance(raw, Mapping) and len(raw) == 1:
        ((kind, wanted),) = raw.items()
        if kind == "not":
            return _test(value, wanted, not negated)
        if kind == "present" and isinstance(wanted, bool):
            return Test(value, "present", (), negated is wanted)
        if kind == "matches":
            return Test(value, "matches", (check_pattern(wanted),), negated)
        if kind in ("contains", "starts"):
            return Test(value, kind, (str(wanted),), negated)
    raise RejectedError(f"a test is a text, a list, or one of present, matches, contains, starts, not: got {raw!r}")


def _word(raw: object) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return str(raw)


def walk(value: Value | Condition) -> list[Value]:
    """The value and all values inside it."""
    inner: list[Value] = []
    if isinstance(value, Condition):
        return [found for tests in value.any_of for test in tests for found in walk(test.value)]
    if isinstance(value, First | Fitting):
        inner = list(value.values)
    elif isinstance(value, Below):
        inner = [value.value]
    elif isinstance(value, Lookup):
        inner = [value.value, value.default]
    elif isinstance(value, Capture | Call):
        inner = [value.value]
    elif isinstance(value, Other):
        inner = [value.value, value.than]
    elif isinstance(value, Template):
        inner = [part for part in value.parts if not isinstance(part, str)]
    return [value, *(found for one in inner for found in walk(one))]
