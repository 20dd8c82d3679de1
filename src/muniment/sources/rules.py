"""How a record becomes typed columns, and how an entry's own rules come before those of the entry that it is like. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from muniment.sources.columns import COLUMNS
from muniment.sources.paths import Segment
from muniment.sources.values import Condition, Const, First, Value

__all__ = ["Case", "Rules", "over"]

_KIND = ("class_uid", "activity_id")


@dataclass(frozen=True, slots=True)
class Case:
    """The columns that one kind of event sets over the entry's fields; the first case that holds decides."""

    when: Condition | None
    text: Value | None
    pattern: str
    sets: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Rules:
    """How a record becomes typed columns. `is_any_time`: old time forms are read too (no year, Common Log Format).

    `unwrap`: what stands in the objects below these keys is read as if it stood beside them.
    """

    time: tuple[Value, ...]
    is_any_time: bool
    let: Mapping[str, Value]
    fields: Mapping[str, Value]
    cases: tuple[Case, ...]
    unwrap: tuple[Segment, ...] = ()


def over(own: Rules, base: Rules) -> Rules:
    """The rules of an entry that is like another one.

    What the entry says comes first, and the other's values where that is empty: for its times, its `let` names, its columns,
    also where a case of the other sets one. The entry's own cases are asked before the other's. A constant or number of its own
    stands alone. With an action of its own the class follows from the action, unless it says another.
    """
    fields = {name: value for name, value in base.fields.items() if "action" not in own.fields or name not in _KIND}
    return Rules(
        time=own.time + base.time,
        is_any_time=own.is_any_time or base.is_any_time,
        let={**base.let} | {name: _first(value, base.let.get(name)) for name, value in own.let.items()},
        fields=fields | {name: _column(name, value, fields.get(name)) for name, value in own.fields.items()},
        cases=own.cases + tuple(_under(case, own.fields) for case in base.cases),
        unwrap=tuple(dict.fromkeys(own.unwrap + base.unwrap)),
    )


def _under(case: Case, fields: Mapping[str, Value]) -> Case:
    sets = {name: _column(name, fields[name], value) if name in fields else value for name, value in case.sets.items()}
    return replace(case, sets=sets)


def _column(name: str, own: Value, base: Value | None) -> Value:
    return own if COLUMNS[name] == "number" else _first(own, base)


def _first(own: Value, base: Value | None) -> Value:
    return own if base is None or isinstance(own, Const) else First((own, base))
