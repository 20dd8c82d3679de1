"""The published OCSF schema, as far as our classes need it, and a validator of event objects against it. Pure.

The table is `data/ocsf-1.8.0.json.gz`: made from the schema's own files (origin and licence inside it), captions and
rules only, without the descriptions. Checked are required attributes, types, patterns, ranges, enumerations with
their siblings, arrays, `at_least_one` and `just_one`, unknown attributes, and that uid, category and type agree.
Attributes of profiles that an event does not name in `metadata.profiles` are allowed and not required.
"""

from __future__ import annotations

import functools
import gzip
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import msgspec

__all__ = ["VERSION", "OcsfClass", "classes", "has_attribute", "problems", "verdict_names"]

VERSION: Final = "1.8.0"
_PATTERN_CHARS_MAX = 4096


@dataclass(frozen=True, slots=True)
class OcsfClass:
    """One event class."""

    uid: int
    name: str
    caption: str
    category: str
    activities: Mapping[int, str]


@functools.cache
def _table() -> dict[str, Any]:
    packed = resources.files("muniment.sources").joinpath(f"data/ocsf-{VERSION}.json.gz").read_bytes()
    table: dict[str, Any] = msgspec.json.decode(gzip.decompress(packed))
    return table


@functools.cache
def classes() -> Mapping[int, OcsfClass]:
    """The classes we know, by class_uid."""
    return {
        one["uid"]: OcsfClass(
            one["uid"],
            name,
            one["caption"],
            one["category"],
            {int(k): caption for k, caption in one["attributes"]["activity_id"]["e"].items()},
        )
        for name, one in _table()["classes"].items()
    }


def has_attribute(class_uid: int, name: str) -> bool:
    """Whether the class has an attribute of that name."""
    return name in _table()["classes"][classes()[class_uid].name]["attributes"]


@functools.cache
def verdict_names() -> Mapping[str, tuple[int, str]]:
    """What an Incident Finding may be found to be, by its name in small letters: number and caption.

    >>> verdict_names()["true_positive"]
    (2, 'True Positive')
    """
    known = _table()["classes"]["incident_finding"]["attributes"]["verdict_id"]["e"]
    return {caption.lower().replace(" ", "_"): (int(number), caption) for number, caption in known.items()}


def problems(event: Mapping[str, Any]) -> list[str]:
    """What is wrong with an OCSF event object, each as "path: problem"; empty when it is valid."""
    known = classes().get(event.get("class_uid", -1))
    if known is None:
        return [f"class_uid: no such class: {event.get('class_uid')!r}"]
    found = list(_check_object(event, _table()["classes"][known.name], ""))
    if event.get("category_uid") != known.uid // 1000:
        found.append(f"category_uid: expected {known.uid // 1000}, got {event.get('category_uid')!r}")
    expected = known.uid * 100 + (event.get("activity_id") or 0)
    if event.get("type_uid") != expected:
        found.append(f"type_uid: expected {expected}, got {event.get('type_uid')!r}")
    return found


def _check_object(value: Mapping[str, Any], shape: Mapping[str, Any], path: str) -> Iterator[str]:
    attributes = shape["attributes"]
    profiles = value.get("metadata", {}).get("profiles", []) if not path else []
    for name, attribute in attributes.items():
        if attribute.get("r") and name not in value and attribute.get("p", "") in ("", *profiles):
            yield f"{path}{name}: required"
    for name, inner in value.items():
        attribute = attributes.get(name)
        if attribute is None:
            yield f"{path}{name}: no such attribute"
            continue
        yield from _check_attribute(inner, attribute, f"{path}{name}")
        sibling = attribute.get("s")
        if sibling and "e" in attribute and isinstance(inner, int) and sibling in value and inner != 99:
            caption = attribute["e"].get(str(inner))
            if caption is not None and sibling in attributes and value[sibling] != caption:
                yield f"{path}{sibling}: expected {caption!r} beside {name} {inner}, got {value[sibling]!r}"
    for kind, names in (shape.get("constraints") or {}).items():
        present = sum(1 for name in names if name in value)
        if kind == "at_least_one" and not present:
            yield f"{path or 'event'}: at least one of {', '.join(names)}"
        if kind == "just_one" and present != 1:
            yield f"{path or 'event'}: just one of {', '.join(names)}, got {present}"


def _check_attribute(value: Any, attribute: Mapping[str, Any], path: str) -> Iterator[str]:
    if attribute.get("a"):
        if not isinstance(value, list):
            yield f"{path}: expected an array"
            return
        for k, item in enumerate(value):
            yield from _check_one(item, attribute, f"{path}[{k}]")
    else:
        yield from _check_one(value, attribute, path)


def _check_one(value: Any, attribute: Mapping[str, Any], path: str) -> Iterator[str]:
    shape = _table()["objects"].get(attribute["t"])
    if shape is not None:
        if not isinstance(value, Mapping):
            yield f"{path}: expected an object {attribute['t']}"
        elif shape["attributes"]:
            yield from _check_object(value, shape, f"{path}.")
        return
    yield from _check_type(value, attribute["t"], path)
    if "e" in attribute and str(value) not in attribute["e"]:
        yield f"{path}: {value!r} is not one of {', '.join(attribute['e'])}"


def _check_type(value: Any, name: str, path: str) -> Iterator[str]:
    rules = _table()["types"].get(name, {})
    base = rules.get("type") or name
    kinds: dict[str, type | tuple[type, ...]] = {
        "string_t": str,
        "integer_t": int,
        "long_t": int,
        "float_t": (int, float),
        "boolean_t": bool,
    }
    wanted = kinds.get(base, object)
    if not isinstance(value, wanted) or (isinstance(value, bool) and base != "boolean_t"):
        yield f"{path}: expected {name}, got {value!r}"
        return
    if isinstance(value, str):
        yield from _check_text(value, name, rules, path)
    if "max_len" in rules and isinstance(value, str) and len(value) > rules["max_len"]:
        yield f"{path}: longer than {rules['max_len']}"
    if "range" in rules and isinstance(value, int | float) and not rules["range"][0] <= value <= rules["range"][1]:
        yield f"{path}: outside {rules['range']}"


def _check_text(value: str, name: str, rules: Mapping[str, Any], path: str) -> Iterator[str]:
    if name == "ip_t":
        try:
            ipaddress.ip_address(value)
        except ValueError:
            yield f"{path}: {value!r} is not an address"
    elif "regex" in rules and len(value) <= _PATTERN_CHARS_MAX and not re.search(rules["regex"], value):
        yield f"{path}: {value!r} does not look like a {name}"
