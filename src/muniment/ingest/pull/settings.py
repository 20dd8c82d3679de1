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

A mistake is told with file, line, column and how to mend it; the server does not start with a half of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from muniment.limits import PULL_EVERY_S_MAX, PULL_LATE_DAYS_MAX
from muniment.toml_file import Table, read_toml

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
    external_id: str = ""

    @property
    def catalogue_entry(self) -> str:
        """The format of the source."""
        return "aws_cloudtrail" if self.format == "cloudtrail" else "auto"


def read_pull_settings(path: Path) -> tuple[S3Settings, ...]:
    """The pulls of a file.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; the text says where, what, and how to mend it.
    """
    return read_toml(path, "pull", _settings)


def _settings(file: Table) -> tuple[S3Settings, ...]:
    found: list[S3Settings] = []
    places: dict[tuple[str, str, str], int] = {}
    for number, table in enumerate(file.rows("s3")):
        one = _one(table)
        place = (one.source, one.bucket, one.prefix)
        if place in places:
            raise file.mistake(
                "s3", f"the same source, bucket and prefix as s3 {places[place] + 1}",
                "take one of the two out, or give them prefixes that do not overlap", number,
            )  # fmt: skip
        places[place] = number
        found.append(one)
    file.done()
    return tuple(found)


def _one(table: Table) -> S3Settings:
    found = S3Settings(
        source=_filled(table, "source", "aws"), bucket=_filled(table, "bucket", "our-trail"),
        prefix=table.text("prefix", "", '"AWSLogs/"'), region=table.text("region", "", '"eu-central-1"'),
        queue=_url(table, "queue"), since=_day(table, "since"),
        late_days=table.number("late_days", 1, PULL_LATE_DAYS_MAX, 3), every_s=table.number("every_s", 1, PULL_EVERY_S_MAX, 60),
        format=table.word("format", _FORMATS, "cloudtrail"), endpoint=_url(table, "endpoint"),
        profile=table.text("profile", ""), role_arn=table.text("role_arn", ""),
        external_id=table.content("external_id_file", "/etc/muniment/external-id") if "external_id_file" in table else "",
    )  # fmt: skip
    table.done()
    return found


def _filled(table: Table, key: str, example: str) -> str:
    found = table.text(key, example=f'"{example}"')
    if not found:
        raise table.mistake(key, "is empty", f'write it as in: {key} = "{example}"')
    return found


def _day(table: Table, key: str) -> str:
    found = table.text(key, "", '"2026-11-01"')
    try:
        return found and date.fromisoformat(found).isoformat()
    except ValueError:
        raise table.mistake(key, f"got {found!r}", f'write a day as in: {key} = "2026-11-01"') from None


def _url(table: Table, key: str) -> str:
    found = table.text(key, "", '"https://..."')
    if found and not _is_safe(found):
        raise table.mistake(key, f"got {found!r}", "give an https URL; http is for this machine itself only")
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
