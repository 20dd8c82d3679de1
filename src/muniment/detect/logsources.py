"""Which of Sigma's log sources an event belongs to, and where the fields that rules name stand in it.

For Windows product, categories and services follow from channel and event id, as Sigma's documentation of log sources
has it; the names of channels are pySigma's. For everything else the catalogue entry of the event's format says it once
(`sigma:`). Besides, every event is one of `product: muniment`, whose fields are the typed columns: what our own rules
are written for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
from sigma.pipelines.common import windows_logsource_mapping

from muniment.detect.rule import LogSource

__all__ = [
    "PLAIN",
    "PRODUCT",
    "Kind",
    "Taxonomy",
    "kind_of_entry",
    "taxonomy_of",
    "typed_kind",
    "windows_kind",
    "windows_kind_of",
    "windows_places",
]

PRODUCT = "muniment"
"""The product of rules over typed columns."""

_SYSMON = "microsoft-windows-sysmon/operational"
_POWERSHELL = "microsoft-windows-powershell/operational"
_CLASSIC = "windows powershell"
_CATEGORIES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    _SYSMON: {
        "process_creation": (1,), "file_change": (2,), "network_connection": (3,), "sysmon_status": (4, 16),
        "process_termination": (5,), "driver_load": (6,), "image_load": (7,), "create_remote_thread": (8,),
        "raw_access_thread": (9,), "process_access": (10,), "file_event": (11,), "registry_add": (12,),
        "registry_delete": (12,), "registry_set": (13,), "registry_rename": (14,), "registry_event": (12, 13, 14),
        "create_stream_hash": (15,), "pipe_created": (17, 18), "wmi_event": (19, 20, 21), "dns_query": (22,),
        "file_delete": (23, 26), "clipboard_capture": (24,), "process_tampering": (25,), "file_block_executable": (27,),
        "file_block_shredding": (28,), "file_executable_detected": (29,), "sysmon_error": (255,),
    },
    _POWERSHELL: {"ps_module": (4103,), "ps_script": (4104,)},
    "powershellcore/operational": {"ps_module": (4103,), "ps_script": (4104,)},
    _CLASSIC: {"ps_classic_start": (400,), "ps_classic_provider_start": (600,), "ps_classic_script": (800,)},
    "security": {"process_creation": (4688,)},
    "microsoft-windows-windows defender/operational": {"antivirus": (1006, 1007, 1015, 1116, 1117)},
    "microsoft-windows-kernel-file/analytic": {"file_access": (12,), "file_rename": (19, 27), "file_delete": (26,)},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """What an event is, to Sigma. Hashable, and few: rules are chosen once for each."""

    product: str = ""
    categories: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()
    known: tuple[tuple[str, str], ...] = ()
    """Fields whose value every event of the kind has."""
    acts: tuple[tuple[str, str, str], ...] = ()
    """(action, text in the record, category): what events of one format are told apart by; `categories` has all of them."""
    also: frozenset[str] = frozenset()
    """Other products whose rules mean such events too: errors of a JVM are those of Spring."""

    def has(self, source: LogSource) -> bool:
        """Is a rule with this log source about such events? What it leaves open, it does not care for."""
        return (
            (source.product in {"", self.product} or source.product in self.also)
            and (not source.category or source.category in self.categories)
            and (not source.service or source.service in self.services)
        )

    def of_act(self, action: str, record: str) -> Kind:
        """The kind of one event of a format whose events are of several categories."""
        category = next((name for act, text, name in self.acts if act == action and text in record), "")
        return _of_category(self, category)


@lru_cache(maxsize=1_024)
def _of_category(kind: Kind, category: str) -> Kind:
    return Kind(kind.product, frozenset([category] if category else ()), kind.services, kind.known, also=kind.also)


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Where the fields stand that rules name: `names` gives the paths of some, others are looked for as they are called
    and then below each of `prefixes`. A path `$column` is a typed column. `keyvalue`: texts whose pairs are fields.
    """

    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    prefixes: Sequence[str] = ()
    keyvalue: tuple[str, ...] = ()
    has_columns: bool = field(init=False)
    """Does it name typed columns?"""

    def __post_init__(self) -> None:
        named = any(path.startswith("$") for paths in self.names.values() for path in paths)
        object.__setattr__(self, "has_columns", named)


PLAIN = Taxonomy()


def taxonomy_of(given: Mapping[str, Any]) -> Taxonomy:
    """From an entry's `sigma:` block."""
    names = given.get("fields", {})
    paths = {str(name): tuple([path] if isinstance(path, str) else map(str, path)) for name, path in names.items()}
    return Taxonomy(paths, tuple(map(str, given.get("prefixes", ()))), tuple(map(str, given.get("keyvalue", ()))))


def kind_of_entry(given: Mapping[str, Any]) -> Kind:
    """From an entry's `sigma:` block."""

    def words(name: str) -> frozenset[str]:
        value = given.get(name, ())
        return frozenset([value] if isinstance(value, str) else map(str, value))

    acts = tuple((str(a["action"]), str(a.get("holds", "")), str(a["category"])) for a in given.get("acts", ()))
    categories = words("category") | {category for _, _, category in acts}
    products = given.get("product", "")
    product, *also = products if isinstance(products, list) else [products]
    return Kind(str(product), categories, words("service"), acts=acts, also=frozenset(map(str, also)))


@lru_cache(maxsize=4_096)
def typed_kind(format: str, class_name: str) -> Kind:
    """What any event is to rules over typed columns: its format is the service, its OCSF class the category.

    >>> sorted(typed_kind("okta", "Account Change").categories)
    ['account_change']
    """
    category = class_name.lower().replace(" ", "_")
    return Kind(PRODUCT, frozenset({category} if category else ()), frozenset({format}))


class _System(msgspec.Struct):
    Channel: str = ""
    EventID: int | str = ""


class _Outer(msgspec.Struct):
    System: _System | None = None


class _Winlog(msgspec.Struct):
    channel: str = ""
    event_id: int | str = ""


class _Shapes(msgspec.Struct):
    """The places of channel and id in the usual forms of a Windows event; everything else is skipped unread."""

    Channel: str = ""
    EventID: int | str = ""
    winlog: _Winlog | None = None
    Event: _Outer | None = None


_shapes = msgspec.json.Decoder(_Shapes).decode


def windows_kind_of(record: bytes) -> Kind | None:
    """The kind of a Windows event in one of the usual forms; None when it has another. 2 us, for every event needs it."""
    try:
        found = _shapes(record)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    channel, number = found.Channel, found.EventID
    if found.winlog is not None:
        channel, number = found.winlog.channel, found.winlog.event_id
    elif found.Event is not None and found.Event.System is not None:
        channel, number = found.Event.System.Channel, found.Event.System.EventID
    return windows_kind(channel, str(number)) if channel else None


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _services() -> dict[str, frozenset[str]]:
    """Service names by channel, in lower case."""
    found: dict[str, set[str]] = {}
    for service, channels in windows_logsource_mapping.items():
        for channel in _listed(channels):
            found.setdefault(channel.lower(), set()).add(service)
    return {channel: frozenset(services) for channel, services in found.items()}


_SERVICES = _services()


def windows_places(source: LogSource) -> list[tuple[str, tuple[int, ...]]]:
    """The channels, each with the ids (none: any), whose events are of a log source of Windows.

    >>> windows_places(LogSource("ps_script", "windows", "powershell"))
    [('Microsoft-Windows-PowerShell/Operational', (4104,)), ('PowerShellCore/Operational', (4104,))]
    """
    names = {channel.lower(): channel for each in windows_logsource_mapping.values() for channel in _listed(each)}
    channels = dict.fromkeys([*_SERVICES, *_CATEGORIES])
    return [
        (names.get(channel, channel), _CATEGORIES.get(channel, {}).get(source.category, ()))
        for channel in channels
        if (not source.service or source.service in _SERVICES.get(channel, ()))
        and (not source.category or source.category in _CATEGORIES.get(channel, ()))
    ]


@lru_cache(maxsize=4_096)
def windows_kind(channel: str, event_id: str) -> Kind:
    """The kind of a Windows event by its channel and id.

    >>> sorted(windows_kind("Microsoft-Windows-Sysmon/Operational", "1").categories)
    ['process_creation']
    """
    name = channel.lower()
    by_category = _CATEGORIES.get(name, {})
    categories = {category for category, ids in by_category.items() if event_id.isdigit() and int(event_id) in ids}
    return Kind("windows", frozenset(categories), _SERVICES.get(name, frozenset()), (("EventID", event_id),))
