"""Small MaxMind-format files for tests.

The ranges of countries are a few rows of geo-whois-asn-country (ip-location-db), (c) Number Resource Organization
(nro.net), CC BY 4.0; everything else is made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet

COUNTRIES = {"1.0.0.0/24": "AU", "1.0.16.0/20": "JP", "41.77.140.0/22": "DZ", "2001:200::/32": "JP", "2a00::/22": "RU"}


def country_record(code: str) -> dict[str, Any]:
    """What a Country file says."""
    return {"country": {"iso_code": code, "names": {"en": code}}}


def write_file(path: Path, kind: str, networks: Mapping[str, Any]) -> Path:
    """A file of `kind` (its database_type) that says these records."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type=kind, float_type="f64", int_type="u32")
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


def write_countries(path: Path, networks: Sequence[str] = tuple(COUNTRIES)) -> Path:
    """A Country file."""
    return write_file(path, "GeoLite2-Country", {each: country_record(COUNTRIES[each]) for each in networks})
