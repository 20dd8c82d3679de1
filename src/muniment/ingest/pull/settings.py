"""The file of what is pulled (`pull` setting), as TOML.

    [[s3]]
    source = "aws"                        # made at the first start, if it is not there
    bucket = "our-trail"
    prefix = "AWSLogs/"
    region = "eu-central-1"
    queue = "https://sqs.eu-central-1.amazonaws.com/1234/trail"   # told of new objects; without one the bucket is listed
    since = "2026-11-01"                  # listing: not what is older, by the day in its key
    late_days = 3                         # listing: how long a day may still get objects
    every_s = 60                          # listing: how often
    format = "cloudtrail"                 # or jsonl
    endpoint = "https://s3.example.com"   # S3-compatible stores; https, but for this machine itself
    profile = "audit"                     # of the AWS configuration; default: the usual chain of credentials
    role_arn = "arn:aws:iam::1234:role/audit"
    external_id_file = "/etc/muniment/external-id"

A mistake is told with the place in the file; the server does not start with a half of it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from muniment.errors import ConfigError

__all__ = ["S3Settings", "read_pull_settings"]

_FORMATS: Final = ("cloudtrail", "jsonl")


@dataclass(frozen=True, slots=True)
class S3Settings:
    """One bucket."""

    source: str
    bucket: str
    prefix: str = ""
    region: str = ""
    queue: str = ""
    since: str = ""
    late_days: int = 3
    every_s: int = 60
    format: str = "cloudtrail"
    endpoint: str = ""
    profile: str = ""
    role_arn: str = ""
    external_id_file: str = ""

    @property
    def catalogue_entry(self) -> str:
        """The format of the source."""
        return "aws_cloudtrail" if self.format == "cloudtrail" else "auto"


def read_pull_settings(path: Path) -> tuple[S3Settings, ...]:
    """The pulls of a file.

    Raises:
        ConfigError: the file cannot be read or says something that cannot be; names the place.
    """
    try:
        given = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", setting="pull") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", setting="pull") from error
    if unknown := sorted(set(given) - {"s3"}):
        raise ConfigError(f"{path}: {unknown[0]}: not known; there is [[s3]]", setting="pull")
    tables = given.get("s3", [])
    if not isinstance(tables, list):
        raise ConfigError(f"{path}: s3: write [[s3]]", setting="pull")
    found = tuple(_one(table, f"{path}: s3[{number}]") for number, table in enumerate(tables))
    places = [(each.source, each.bucket, each.prefix) for each in found]
    if len(set(places)) < len(places):
        raise ConfigError(f"{path}: two pulls have the same source, bucket and prefix", setting="pull")
    return found


def _one(table: Any, place: str) -> S3Settings:
    known = {each.name: each for each in fields(S3Settings)}
    if not isinstance(table, dict):
        raise ConfigError(f"{place}: expected a table", setting="pull")
    for name, value in table.items():
        if name not in known:
            raise ConfigError(f"{place}.{name}: not known; there is {', '.join(known)}", setting="pull")
        wanted = int if known[name].type == "int" else str
        if not isinstance(value, wanted) or isinstance(value, bool) or (isinstance(value, int) and value < 1):
            raise ConfigError(
                f"{place}.{name}: expected {'a number above 0' if wanted is int else 'a text'}", setting="pull"
            )
    for name in ("source", "bucket"):
        if not table.get(name):
            raise ConfigError(f"{place}.{name}: is needed", setting="pull")
    found = S3Settings(**table)
    if found.format not in _FORMATS:
        raise ConfigError(f"{place}.format: must be one of {', '.join(_FORMATS)}", setting="pull")
    if found.since:
        try:
            date.fromisoformat(found.since)
        except ValueError:
            raise ConfigError(f"{place}.since: expected a day such as 2026-11-01", setting="pull") from None
    for name, url in (("endpoint", found.endpoint), ("queue", found.queue)):
        if url and not _is_safe(url):
            raise ConfigError(f"{place}.{name}: must be https, but for this machine itself", setting="pull")
    return found


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return True
    try:
        return parts.scheme == "http" and (
            parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback
        )
    except ValueError:
        return False
