"""Query text to tree: the grammar, the columns meant, and errors that point at the place and say what to do. Pure.

Linear in the length of the text (LALR), which is bounded, as is the depth of parentheses. Any text gives a tree or
`RejectedError` with a column; an unknown field is no error but a warning, and is looked for inside the record.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from muniment.errors import RejectedError
from muniment.limits import QUERY_CHARS_MAX, QUERY_DEPTH_MAX
from muniment.patterns import PatternError, compiled_pattern
from muniment.search.columns import ALIASES, COLUMNS
from muniment.search.query import values
from muniment.search.query.ast import (
    And,
    Everything,
    Flag,
    Identity,
    Moment,
    Network,
    Node,
    Not,
    Number,
    Or,
    Path,
    Text,
    Words,
)

__all__ = ["PROSE", "Parsed", "parse_query"]

PROSE = frozenset({"message", "reason", "status_detail", "user_agent", "changes_before", "changes_after", "quarantine"})
"""Text columns that hold sentences: `:` looks for the words in them, not for the whole value."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")
_NEVER_EMPTY = ("time", "uuid")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A query's tree, and what to tell the person who wrote it."""

    node: Node
    warnings: tuple[str, ...] = ()


@cache
def _parser() -> Lark:
    grammar = FilePath(__file__).with_name("grammar.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=False)


def parse_query(text: str, now_ns: int) -> Parsed:
    """The tree of `text`; times relative to `now_ns`.

    Raises:
        RejectedError: `.column` is the 0-based place, `.reason` says what is wrong and what would be right.
    """
    if len(text) > QUERY_CHARS_MAX:
        raise _rejected(f"the query is longer than {QUERY_CHARS_MAX} characters", QUERY_CHARS_MAX)
    if bad := _CONTROL.search(text):
        raise _rejected("a control character cannot be searched for", bad.start())
    _check_shape(text)
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _explained(error, text) from None
    builder = _Builder(now_ns // 1_000)
    return Parsed(builder.start(tree), tuple(builder.warnings))


def _rejected(reason: str, column: int) -> RejectedError:
    return RejectedError(reason, field="q", column=column)


def _check_shape(text: str) -> None:
    """Quotes and parentheses in pairs, not too deep; said here because a parser's own words would be unclear."""
    opened: list[int] = []
    at, quote = 0, -1
    while at < len(text):
        char = text[at]
        if quote >= 0:
            if char == "\\":
                at += 1
            elif char == '"':
                quote = -1
        elif char == '"':
            quote = at
        elif char == "(":
            opened.append(at)
            if len(opened) > QUERY_DEPTH_MAX:
                raise _rejected(f"more than {QUERY_DEPTH_MAX} parentheses inside each other", at)
        elif char == ")":
            if not opened:
                raise _rejected("this parenthesis was never opened; remove it, or put the text in quotes", at)
            opened.pop()
        at += 1
    if quote >= 0:
        raise _rejected('this quote is never closed; add " at the end of the phrase', quote)
    if opened:
        raise _rejected("this parenthesis is never closed; add )", opened[-1])


def _explained(error: UnexpectedInput, text: str) -> RejectedError:
    column = error.pos_in_stream if isinstance(error, UnexpectedCharacters) else None
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        column, token = error.token.start_pos, str(error.token)
        if error.token.type in ("OR", "AND"):
            return _rejected(
                f'{token} needs something on both sides; to search for the word, write "{token}"', column or 0
            )
        if error.token.type == "CLOSE":
            return _rejected("something is missing before this parenthesis", column or 0)
        return _rejected(f"{token!r} is not expected here; put it in quotes to search for it", column or 0)
    if isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
        return _rejected("the query ends too early: a value or a term is missing", len(text.rstrip()))
    column = min(column if column is not None else len(text), len(text))
    shown = text[column : column + 1]
    if shown in ("[", "{"):
        return _rejected("a range is written field:[a TO b]; put the text in quotes to search for it", column)
    return _rejected(f"{shown!r} is not expected here; put the text in quotes to search for it", column)


def _unquoted(token: str) -> str:
    return _ESCAPE.sub(r"\1", token[1:-1])


@dataclass(slots=True)
class _Builder:
    """One walk over the parse tree."""

    now_us: int
    warnings: list[str] = field(default_factory=list)

    def start(self, tree: Tree[Token]) -> Node:
        return self.either(_tree(tree.children[0])) if tree.children else Everything()

    def either(self, tree: Tree[Token]) -> Node:
        parts = [self.both(child) for child in tree.children if isinstance(child, Tree)]
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def both(self, tree: Tree[Token]) -> Node:
        parts = [self.denied(child) for child in tree.children if isinstance(child, Tree)]
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def denied(self, tree: Tree[Token]) -> Node:
        *denials, atom = tree.children
        node = self.atom(_tree(atom))
        return Not(node) if len(denials) % 2 else node

    def atom(self, tree: Tree[Token]) -> Node:
        if tree.data == "group":
            return self.either(_tree(tree.children[1]))
        if tree.data == "word":
            return self.word(_token(tree))
        if tree.data == "quoted":
            value = _unquoted(_token(tree))
            return Words(value) if value.strip() else Everything()
        return self.field(tree)

    def word(self, token: Token) -> Node:
        if set(token) == {"*"}:
            return Everything()
        return Words(str(token), is_pattern="*" in token)

    def field(self, tree: Tree[Token]) -> Node:
        head, value = tree.children
        assert isinstance(head, Token)
        assert isinstance(value, Tree)
        spelled = re.match(r"(.*?)(:?(?:>=|<=|>|<|=)|:)$", str(head))
        assert spelled is not None
        name, operator = spelled[1], spelled[2].removeprefix(":") if len(spelled[2]) > 1 else spelled[2]
        at = value.children[0].start_pos if value.children and isinstance(value.children[0], Token) else head.end_pos
        try:
            return self.test(name, operator, value, head)
        except RejectedError as error:
            raise _rejected(f"{name}: {error.reason}", at or 0) from None

    def test(self, name: str, operator: str, value: Tree[Token], head: Token) -> Node:
        if value.data == "choice":
            items = [child for child in _tree(value.children[1]).children if isinstance(child, Tree)]
            parts = [self.test(name, operator, item, head) for item in items]
            return parts[0] if len(parts) == 1 else Or(tuple(parts))
        token = str(value.children[0])
        columns = _columns(name)
        if not columns:
            return self.unknown(name, operator, value.data, token, head)
        kinds = {COLUMNS[column].kind for column in columns}
        kind = kinds.pop()
        if value.data == "plain" and set(token) == {"*"} and operator in (":", "="):
            return self.exists(columns, kind)
        if kind == "text":
            return _text(columns, operator, str(value.data), token)
        if value.data == "regex":
            raise RejectedError(f"a pattern /{token[1:-1]}/ works on text, and this is a {kind}")
        if value.data == "range":
            low, high, includes_low, includes_high = _range(token)
            return self.interval(columns[0], kind, low, high, includes_low, includes_high)
        word = _unquoted(token) if value.data == "text" else token
        return self.one(columns[0], kind, operator, word)

    def exists(self, columns: Sequence[str], kind: str) -> Node:
        if kind in _NEVER_EMPTY:
            return Everything()
        if kind == "ip":
            return Not(Network(columns[0], 0, 0))
        if kind == "number":
            return Everything() if columns[0] == "index" else Not(Number(columns[0], 0, 0))
        return Everything() if kind == "bool" else Text(tuple(columns), "exists", "")

    def one(self, column: str, kind: str, operator: str, word: str) -> Node:
        if kind == "bool":
            if word.lower() not in _TRUE + _FALSE or operator not in (":", "="):
                raise RejectedError(f"{word!r} is neither true nor false")
            return Flag(column, word.lower() in _TRUE)
        if kind == "uuid":
            if not re.fullmatch(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}", word):
                raise RejectedError(f"{word!r} is not a UUID; search the word alone, without {column}:")
            digits = word.lower().replace("-", "")
            return Identity(column, f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")
        if operator in (":", "="):
            return self.interval(column, kind, word, word, True, True)
        if operator in (">", ">="):
            return self.interval(column, kind, word, "*", operator == ">=", True)
        return self.interval(column, kind, "*", word, True, operator == "<=")

    def interval(self, column: str, kind: str, low: str, high: str, from_low: bool, to_high: bool) -> Node:
        if kind == "number":
            a = None if low == "*" else values.number(low) + (0 if from_low else 1)
            b = None if high == "*" else values.number(high) - (0 if to_high else 1)
            return Number(column, a, b)
        if kind == "time":
            a = None if low == "*" else values.time_span(low, self.now_us)[0 if from_low else 1]
            b = None if high == "*" else values.time_span(high, self.now_us)[1 if to_high else 0]
            return Moment(column, a, b)
        if kind == "ip":
            first = 0 if low == "*" else values.network(low)[0] if from_low else values.network(low)[1] + 1
            last = 2**128 - 1 if high == "*" else values.network(high)[1] if to_high else values.network(high)[0] - 1
            if not 0 <= first < 2**128 or not 0 <= last < 2**128:
                return Not(Everything())
            return Network(column, first, last)
        raise RejectedError(f"a {kind} has no order; write {column}:value")

    def unknown(self, name: str, operator: str, form: str, token: str, head: Token) -> Node:
        """A field that is no column: a path inside the record; a bare name may also be just a word with a colon."""
        near = difflib.get_close_matches(name.lower(), [*COLUMNS, *ALIASES], n=1, cutoff=0.7)
        hint = f"; did you mean {near[0]}?" if near else ""
        self.warnings.append(f"{name} is not a column: looked for inside the record{hint}")
        path = tuple(int(each) if each.isdigit() and len(each) < 6 else each for each in name.split("."))
        inside = _path(path, operator, form, token)
        if "." in name or operator != ":" or form not in ("plain", "text"):
            return inside
        literal = f"{name}:{_unquoted(token) if form == 'text' else token}"
        return Or((inside, Words(literal, is_pattern=form == "plain" and "*" in token)))


def _columns(name: str) -> tuple[str, ...]:
    lowered = name.lower().replace(".", "_")
    return (lowered,) if lowered in COLUMNS else ALIASES.get(lowered, ())


def _tree(child: Tree[Token] | Token) -> Tree[Token]:
    assert isinstance(child, Tree)
    return child


def _token(tree: Tree[Token]) -> Token:
    token = tree.children[0]
    assert isinstance(token, Token)
    return token


def _range(token: str) -> tuple[str, str, bool, bool]:
    low, _, high = token[1:-1].split(None, 2)
    return low, high.strip(), token[0] == "[", token[-1] == "]"


def _regex(token: str) -> str:
    pattern = token[1:-1].replace("\\/", "/")
    try:
        compiled_pattern("(?is)" + pattern, bytes_max=1 << 20)
    except PatternError as error:
        raise RejectedError(f"the pattern is not valid (RE2 syntax): {error}") from None
    return pattern


def _text(columns: tuple[str, ...], operator: str, form: str, token: str) -> Node:
    return _tested(lambda test, value: Text(columns, test, value), columns[0] in PROSE, operator, form, token)


def _path(path: tuple[str | int, ...], operator: str, form: str, token: str) -> Node:
    def make(test: Any, value: str) -> Node:
        return Path(path, test, value, _as_number(value) if test in ("equals", "exact", "from", "to") else None)

    return _tested(make, False, operator, form, token)


def _as_number(value: str) -> float | None:
    return float(value) if re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", value) else None


def _tested(make: Callable[[Any, str], Node], is_prose: bool, operator: str, form: str, token: str) -> Node:
    """The test on text that an operator and a form of value mean."""
    if form == "regex":
        return make("regex", _regex(token))
    if form == "range":
        low, high, from_low, to_high = _range(token)
        parts = [make("exists", "")]
        if low != "*":
            parts.append(make("from", low) if from_low else Not(make("to", low)))
        if high != "*":
            parts.append(make("to", high) if to_high else Not(make("from", high)))
        return And(tuple(parts)) if len(parts) > 1 else parts[0]
    value = _unquoted(token) if form == "text" else token
    if operator in (">=", ">", "<=", "<"):
        test = make("from" if operator in (">=", "<") else "to", value)
        return And((make("exists", ""), test if operator in (">=", "<=") else Not(test)))
    if operator == "=":
        return make("exact", value)
    if form == "plain" and set(value) == {"*"}:
        return make("exists", "")
    if form == "plain" and "*" in value:
        return make("pattern", value)
    if is_prose and value.strip():
        return make("words", value)
    return make("equals", value)
