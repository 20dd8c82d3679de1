"""Where addresses are said to be, from MaxMind-format files that the operator supplies (`geoip` setting).

Several files may be given: a City or Country one, an ASN one, an Anonymous-IP one; the shapes of MaxMind, DB-IP and
IPinfo are read. None is shipped: no package that is kept up has data which may be passed on (docs/adr/0010). A file that
is replaced is read anew; one that has become unreadable leaves the older data in use and says so.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import maxminddb

from muniment.errors import ConfigError
from muniment.event.place import Place
from muniment.limits import GEOIP_CACHE_ADDRESSES, GEOIP_LOOK_EVERY_S

__all__ = ["About", "GeoIP"]

_log = logging.getLogger(__name__)
_ATTRIBUTION: Final = {
    "geolite2": "This product includes GeoLite Data created by MaxMind, available from https://www.maxmind.com.",
    "geoip2": "GeoIP data by MaxMind, https://www.maxmind.com.",
    "dbip": "IP Geolocation by DB-IP, https://db-ip.com.",
    "ipinfo": "IP address data by IPinfo, https://ipinfo.io.",
}


@dataclass(frozen=True, slots=True)
class About:
    """One file: its kind as it says itself, when it was built (UTC seconds), whom to name, and what is wrong with it."""

    path: str
    kind: str
    built_at: int
    attribution: str
    problem: str = ""


class _File:
    """One file, opened; read anew when it was replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        self._stamp = self._seen()
        self.reader = self._opened()

    def look(self) -> bool:
        """Read it anew if it was replaced; whether its data changed."""
        try:
            stamp = self._seen()
            if stamp == self._stamp:
                return False
            self._stamp = stamp
            self.reader = self._opened()
        except ConfigError as error:
            if self.problem != str(error):
                _log.warning("%s; the data of before stays in use", error)
            self.problem = str(error)
            return False
        self.problem = ""
        return True

    def about(self) -> About:
        """What it is."""
        found = self.reader.metadata()
        kind = str(found.database_type)
        source = next((words for name, words in _ATTRIBUTION.items() if name in kind.lower().replace("-", "")), "")
        return About(str(self.path), kind, int(found.build_epoch), source, self.problem)

    def _seen(self) -> tuple[int, int, int]:
        try:
            found = os.stat(self.path)
        except OSError as error:
            raise ConfigError(f"cannot read {self.path}: {error.strerror}", setting="geoip") from error
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _opened(self) -> Any:
        try:  # in memory: a file that is overwritten in place must not change under a lookup
            return maxminddb.open_database(str(self.path), maxminddb.MODE_MEMORY)
        except (OSError, maxminddb.InvalidDatabaseError, ValueError) as error:
            raise ConfigError(f"{self.path} is no MaxMind-format file: {error}", setting="geoip") from error


class GeoIP:
    """What all files together know. Thread-safe."""

    def __init__(self, files: list[_File]) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._latest_look = time.monotonic()
        self._cached = lru_cache(maxsize=GEOIP_CACHE_ADDRESSES)(self._found)

    @classmethod
    def open(cls, paths: str | None) -> GeoIP:
        """From paths with commas between them; none for no data.

        Raises:
            ConfigError: a file is not there or is not of the format.
        """
        return cls([_File(Path(path.strip())) for path in (paths or "").split(",") if path.strip()])

    def __bool__(self) -> bool:
        return bool(self._files)

    def locate(self, address: str) -> Place | None:
        """What is known of an address; None when nothing is, and for private, loopback and reserved ones."""
        if not self._files:
            return None
        if time.monotonic() - self._latest_look > GEOIP_LOOK_EVERY_S:
            self._look()
        return self._cached(address)

    def about(self) -> list[About]:
        """The files in use; none when there is no data."""
        return [file.about() for file in self._files]

    def _look(self) -> None:
        with self._lock:
            self._latest_look = time.monotonic()
            changed = [file for file in self._files if file.look()]
            if changed:
                self._cached.cache_clear()

    def _found(self, address: str) -> Place | None:
        try:
            parsed = ip_address(address.strip("[]").partition("%")[0])
        except ValueError:
            return None
        parsed = getattr(parsed, "ipv4_mapped", None) or parsed
        if not parsed.is_global:
            return None
        said: dict[str, Any] = {}
        for file in self._files:
            try:
                record = file.reader.get(parsed)
            except (ValueError, maxminddb.InvalidDatabaseError) as error:
                file.problem = f"{file.path}: {error}"
                continue
            if isinstance(record, dict):
                for name, value in _facts(record).items():
                    said.setdefault(name, value)
        return Place(**{"country": "", **said}) if said else None


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """What one record says, in the names of `Place`: MaxMind's and DB-IP's nested shape, IPinfo's flat one."""
    found: dict[str, Any] = {}
    country = record.get("country") or record.get("registered_country") or record.get("country_code")
    code = country.get("iso_code") if isinstance(country, dict) else record.get("country_code") or country
    if isinstance(code, str) and len(code) == 2:
        found["country"] = code.upper()
    city = record.get("city")
    name = (city.get("names") or {}).get("en") if isinstance(city, dict) else city
    if isinstance(name, str) and name:
        found["city"] = name
    location = record.get("location")
    where = location if isinstance(location, dict) else record
    latitude, longitude = (
        _number(where.get("latitude", where.get("lat"))),
        _number(where.get("longitude", where.get("lng"))),
    )
    if latitude is not None and longitude is not None:
        found |= {"latitude": latitude, "longitude": longitude}
        if (radius := _number(where.get("accuracy_radius"))) is not None:
            found["radius_km"] = radius
    asn = record.get("autonomous_system_number") or str(record.get("asn") or "").upper().removeprefix("AS")
    if str(asn).isdigit():
        found["asn"] = int(asn)
    organization = record.get("autonomous_system_organization") or record.get("as_name") or record.get("name")
    if isinstance(organization, str) and organization:
        found["organization"] = organization
    flags = (
        "is_anonymous_vpn",
        "is_hosting_provider",
        "is_public_proxy",
        "is_tor_exit_node",
        "hosting",
        "vpn",
        "proxy",
        "tor",
    )
    if any(record.get(flag) in {True, "true"} for flag in flags):
        found["hosting"] = True
    return found


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
