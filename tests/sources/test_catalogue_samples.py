"""Every sample of every catalogue file gives the columns beside it and a valid OCSF object, and names nobody once sealed."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from muniment.envelope import opened
from muniment.limits import SEAL_MENTION_CHARS_MIN
from muniment.privacy.plan import SealPlan
from muniment.privacy.seal import Groups, Sealer
from muniment.sources.catalogue import AUTO, Catalogue, Entry, load
from muniment.sources.registry import SourceRegistry
from muniment.sources.testing import Recollection, check_samples, map_records


@pytest.mark.parametrize("entry", [entry for entry in load().values() if entry.samples], ids=lambda entry: entry.name)
def test_samples_become_what_stands_beside_them(entry: Entry, catalogue: Catalogue, client: Any) -> None:
    found = check_samples(catalogue, entry, client)
    assert len(found) == len(entry.samples)
    wrong = [f"{entry.file}:{line}: {each}" for line, all_of_it in found.items() for each in all_of_it]
    assert not wrong, "\n".join(wrong)


PEOPLE = ("actor_id", "actor_name", "actor_email", "on_behalf_of", "src_ip", "device_name")
NOBODY = {
    "a kind of device": {("okta", "Computer"), ("okta", "Mobile"), ("okta", "Unknown"), ("bitwarden", "9")},
    "what Okta calls a device, which under auto is sealed whole": {("okta", "Evil Computer")},
    "the machine itself": {("mysql", "localhost")},
    "a terminal or a service": {
        *((name, text) for name in ("auditd", "sudo", "pam") for text in ("pts/0", "pts/1", "/dev/pts/1", "/dev/tty1")),
        *(("auditd", text) for text in ("pts0", "pts1", "sshd", "ssh")),
        ("elevation", "/dev/pts/2"),
        ("sudo", "ttys001"),
        ("oracle_audit", "pts/1"),
    },
    "a program or a role": {("pingone", "Provisioning"), ("snowflake", "SECURITYADMIN")},
    "a word that the mapping takes for a name": {("facility_devices", "attempting"), ("haproxy", "HTTP/1.1")},
    "a name without its domain in the path of a file": {("windows", "xodih")},
}
"""Why a value that stands in the clear names nobody, or nobody that can be told from the text, by entry."""

_ADDRESS = re.compile(r"[0-9A-Fa-f.]*[.:][0-9A-Fa-f:.]*[0-9A-Fa-f:]")
_PLACE = re.compile(r"\{\$sealed:[0-9]+\}")


@cache
def _registry() -> SourceRegistry:
    return SourceRegistry(sa.create_engine("sqlite://"), load())


@cache
def _sealer(format: str) -> Sealer:
    return Sealer(SealPlan.compile(_registry().personal(format), opens=True, has_addresses=True))


@pytest.mark.parametrize("entry", load().values(), ids=lambda entry: entry.name)
def test_nobody_whom_a_sample_names_is_in_the_clear_once_sealed(
    entry: Entry, catalogue: Catalogue, client: Any
) -> None:
    allowed = {text for reason in NOBODY.values() for name, text in reason if name == entry.name}
    named = []
    for moment in dict.fromkeys(sample.received_at for sample in entry.samples):
        samples = [sample for sample in entry.samples if sample.received_at == moment]
        said = [Recollection(catalogue, entry.name).of([*sample.earlier, sample.record])[-1] for sample in samples]
        records = [opened(sample.record)[0] for sample in samples]
        rows = map_records(entry, records, client, received_at=moment, earlier=said)
        named += zip(samples, rows, strict=True)
    formats = [entry.name, AUTO, *(["syslog"] if entry.inside == "syslog" else [])]
    for sample, columns in named:
        is_syslog = sample.record.startswith(b'{"syslog"')
        for format in formats if is_syslog else formats[:2]:
            sealed, groups = _sealer(format).seal(sample.record)
            for column in PEOPLE:
                value = str(columns[column])
                if not value or value in allowed or _is_number_of_somebody(column, value, columns):
                    continue
                clear = list(_in_the_clear(column, value, sample.record, sealed, groups))
                assert not clear, f"{entry.file}:{sample.line}: {column} {clear} as {format}: {sealed.decode()}"


def _is_number_of_somebody(column: str, value: str, columns: Mapping[str, str | int]) -> bool:
    """An id that says nothing but by its own system: the subject under whose key the rest is sealed stays readable."""
    if column == "on_behalf_of":
        return value.isdigit()
    names = {str(columns[name]).casefold() for name in ("actor_name", "actor_email")}
    return column == "actor_id" and value.casefold() not in names and "@" not in value and "\\" not in value


def _in_the_clear(column: str, value: str, record: bytes, sealed: bytes, groups: Groups) -> Iterator[str]:
    """How a value, or another spelling of it that the record has, still stands in the sealed record."""
    before, after = list(_texts(msgspec.json.decode(record))), list(_texts(msgspec.json.decode(sealed)))
    spellings = {value}
    if not any(_whole(value).search(text) for text in before):  # as the mapping spells it it is not in the record
        ignoring = re.compile(_whole(value).pattern, re.IGNORECASE)
        spellings |= {found.group() for text in before for found in ignoring.finditer(text)}
        spellings |= {value.encode().hex(), value.encode().hex().upper()}
    if column == "src_ip":
        address = ipaddress.ip_address(value)
        spellings |= {address.packed.hex(), address.packed.hex().upper()}
        spellings |= {found for text in before for found in _ADDRESS.findall(text) if _is_address(found, address)}
    taken = {str(msgspec.json.decode(raw)) for values in groups.values() for raw in values.values()}
    for spelling in spellings:
        if len(spelling) < SEAL_MENTION_CHARS_MIN and spelling in taken:
            after = [text for text in after if text == spelling]  # in free text a short name is a word
        yield from (text for text in after if _whole(spelling).search(_PLACE.sub("", text)))


def _whole(text: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")


def _is_address(text: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        found = ipaddress.ip_address(text.strip("."))
    except ValueError:
        return False
    return address in (found, getattr(found, "ipv4_mapped", None))


def _texts(node: Any) -> Iterator[str]:
    """All texts and numbers of a record, its keys too."""
    if isinstance(node, dict):
        for key, below in node.items():
            if key != "$sealed":
                yield key
                yield from _texts(below)
    elif isinstance(node, list):
        for element in node:
            yield from _texts(element)
    elif node is not None and not isinstance(node, bool):
        yield str(node)
