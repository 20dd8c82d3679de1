"""Fields that no record of a rule's log source holds are named where that is certain, and nowhere else."""

from __future__ import annotations

import pytest

from muniment.detect.absent import remark_on_fields
from muniment.detect.logsources import Taxonomy, kind_of_entry, taxonomy_of
from muniment.detect.reading import Formats
from muniment.detect.rule import Rule
from muniment.detect.rules import load_rules
from muniment.sources.catalogue import load

ALL: Formats = {
    name: (kind_of_entry(entry.sigma), taxonomy_of(entry.sigma)) for name, entry in load().items() if entry.sigma
}
FORMATS: Formats = {name: format for name, format in ALL.items() if name not in {"laurel", "sysmon_linux", "tetragon"}}
LINUX = "product: linux, category: process_creation"
NEVER = "names ParentImage, which records of linux process_creation never hold: "


def _rule(logsource: str, detection: str) -> Rule:
    loaded = load_rules([("r.yml", f"title: r\nlevel: low\nlogsource: {{{logsource}}}\ndetection:\n{detection}")])
    assert not loaded.refused
    return loaded.rules[0]


@pytest.mark.parametrize(
    ("detection", "remark"),
    [
        ("  s: {ParentImage|endswith: /java}\n  condition: s\n", NEVER + "it can never match"),
        ("  s: {ParentImage|endswith: /java, Image|endswith: /sh}\n  condition: s\n", NEVER + "it can never match"),
        ("  s: [{ParentImage|endswith: /java}, {Image|endswith: /sh}]\n  condition: s\n", NEVER + "what asks for it never matches"),
        ("  s: {Image|endswith: /sh}\n  f: {ParentImage|re: '.*java'}\n  condition: s and not f\n", NEVER + "what asks for it never matches"),
        ("  s: {Image|endswith: /sh}\n  f: {ParentImage: null}\n  condition: s and f\n", ""),
        ("  s: {Image|endswith: /sh}\n  f: {ParentImage|exists: false}\n  condition: s and f\n", ""),
        ("  s: {Image|endswith: /sh}\n  f: {ParentImage|exists: true}\n  condition: s and f\n", NEVER + "it can never match"),
        ("  s: {Image|endswith: /sh, CommandLine|contains: x, User: root}\n  condition: s\n", ""),
        ("  s: {Product: x, ParentProcessName: y, anything.else: z}\n  condition: s\n", ""),
        ("  s: {ParentImage: a, IntegrityLevel: b}\n  condition: s\n", "names IntegrityLevel, ParentImage, which records of linux process_creation never hold: it can never match"),
    ],
)  # fmt: skip
def test_a_monitors_field_in_a_kernels_records_is_named_with_what_follows(detection: str, remark: str) -> None:
    assert remark_on_fields(_rule(LINUX, detection), FORMATS) == remark


@pytest.mark.parametrize(
    "logsource",
    [
        "product: windows, category: process_creation",  # Sysmon's own
        "category: process_creation",  # of any product
        "product: linux, service: auditd",  # any record of auditd, also as a shipper's JSON
        "product: linux",
        "product: macos, category: process_creation",  # JSON of a monitor
        "product: okta, service: okta",  # JSON of a vendor
        "category: webserver",
    ],
)
def test_nothing_is_said_where_it_is_not_certain(logsource: str) -> None:
    assert not remark_on_fields(_rule(logsource, "  s: {ParentImage: x}\n  condition: s\n"), FORMATS)


def test_an_entry_that_says_where_the_field_stands_or_holds_any_field_ends_the_remark() -> None:
    rule = _rule(LINUX, "  s: {ParentImage|endswith: /java}\n  condition: s\n")
    kind, taxonomy = FORMATS["auditd"]
    mapped = Taxonomy({**taxonomy.names, "ParentImage": ("$app",)}, keyvalue=taxonomy.keyvalue)
    assert not remark_on_fields(rule, {**FORMATS, "auditd": (kind, mapped)})
    below = Taxonomy(taxonomy.names, ("process",), taxonomy.keyvalue)
    assert not remark_on_fields(rule, {**FORMATS, "auditd": (kind, below)})


def test_where_another_format_may_hold_the_field_that_one_is_named() -> None:
    rule = _rule(LINUX, "  s: {ParentImage|endswith: /java}\n  condition: s\n")
    said = "names ParentImage, which records of auditd of linux process_creation never hold: it can match records of laurel, sysmon_linux, tetragon only"
    assert remark_on_fields(rule, ALL) == said
    rule = _rule(LINUX, "  s: [{ParentImage|endswith: /java}, {Image|endswith: /sh}]\n  condition: s\n")
    assert remark_on_fields(rule, ALL).endswith(
        "never hold: what asks for it matches in laurel, sysmon_linux, tetragon only"
    )
    assert not remark_on_fields(rule, {"sysmon_linux": ALL["sysmon_linux"]})
