"""Records of one kind come together whatever is optional in them, and two products of one source stay apart."""

from __future__ import annotations

import random
from collections.abc import Iterable

from muniment.sources.kinds import Kind, Shape, kinds

EVERYBODYS = frozenset("time user action ip message level id target status app reason session host".split())
TILL = "time user tillEvent drawer shift"


def _shape(
    keys: str, *, count: int = 1, source: str = "tills", system: str = "", program: str = "", n: int = 0
) -> Shape:
    name = f"{source} {program} {system} {keys} {n}"
    return Shape(name, source, "json", "", program, system, frozenset(keys.split()), count, n, n)


def _told(found: Iterable[Kind]) -> list[list[str]]:
    return sorted(sorted(shape.id for shape in kind.shapes) for kind in found)


def test_optional_keys_make_no_kind_of_their_own() -> None:
    shapes = [
        _shape(TILL, count=9),
        *(_shape(f"{TILL} {more}") for more in ("amount", "reason", "amount reason", "terminal")),
    ]
    (kind,) = kinds(shapes, EVERYBODYS)
    assert (kind.count, kind.keys, kind.first) == (13, frozenset(TILL.split()), shapes[0])


def test_two_products_that_share_only_what_everybody_has_stay_apart() -> None:
    shapes = [_shape("time user action ip tillEvent drawer"), _shape("time user action ip badgeNo gate")]
    assert len(kinds(shapes, EVERYBODYS)) == 2


def test_a_few_names_of_everybody_are_no_kind() -> None:
    assert len(kinds([_shape("time user action ip"), _shape("time message level host")], EVERYBODYS)) == 2
    assert len(kinds([_shape("time user action ip"), _shape("time user action")], EVERYBODYS)) == 1


def test_systems_that_name_themselves_stay_apart() -> None:
    shapes = [_shape("time level message app", system=name) for name in ("gate", "billing")]
    assert [kind.system for kind in kinds(shapes, EVERYBODYS)] == ["billing", "gate"]


def test_a_name_that_is_another_each_time_is_no_system() -> None:
    (kind,) = kinds([_shape("time level message app", system=f"job-{n}") for n in range(40)], EVERYBODYS)
    assert (kind.count, kind.system) == (40, "")


def test_sources_and_programs_are_not_mixed() -> None:
    shapes = [_shape(TILL), _shape(TILL, source="shops"), _shape(TILL, program="tilld"), _shape(TILL, program="gated")]
    assert len(kinds(shapes, EVERYBODYS)) == 4


def test_a_kind_does_not_drift_from_shape_to_shape() -> None:
    """Each shares half of its keys with the one before, the last none with the first."""
    letters = "abcdefghijkl"
    shapes = [_shape(" ".join(f"own{c}" for c in letters[n : n + 4]), count=99 - n) for n in range(9)]
    for kind in kinds(shapes, EVERYBODYS):
        assert kind.keys, "shapes with nothing in common are one kind"


def test_the_order_of_shapes_makes_no_difference() -> None:
    words = "tillEvent drawer shift amount badgeNo gate door lane time user action ip".split()
    chance = random.Random(7)
    shapes = [
        _shape(" ".join(chance.sample(words, chance.randint(2, 8))), count=chance.randint(1, 5), n=n)
        for n in range(120)
    ]
    wanted = _told(kinds(shapes, EVERYBODYS))
    assert sum(map(len, wanted)) == len(shapes)
    for _ in range(5):
        chance.shuffle(shapes)
        assert _told(kinds(shapes, EVERYBODYS)) == wanted
