"""The files that settings name, read as a start would read them: for who wants to know before it."""

from __future__ import annotations

from pathlib import Path

from muniment.config import Settings
from muniment.errors import ConfigError
from muniment.ingest.pull.settings import read_pull_settings
from muniment.respond.settings import read_notify_settings
from muniment.sources.geoip import GeoIP

__all__ = ["check_files"]


def check_files(settings: Settings) -> list[tuple[str, bool, str]]:
    """Setting, whether its file can be used, and what is in it or wrong with it. Files that nobody named are left out."""
    found = []
    for name, read in (("notify", _notify), ("pull", _pull), ("geoip", _geoip), ("rules", _rules)):
        if getattr(settings, name):
            try:
                found.append((name, True, read(settings)))
            except ConfigError as error:
                found.append((name, False, str(error).removeprefix(f"{name}: ")))
    return found


def _notify(settings: Settings) -> str:
    told = read_notify_settings(Path(settings.notify))
    return f"{len(told.channels)} channels, {len(told.routes)} routes, {len(told.actions)} actions"


def _pull(settings: Settings) -> str:
    return (
        ", ".join(f"{each.source} from {each.bucket}" for each in read_pull_settings(Path(settings.pull))) or "nothing"
    )


def _geoip(settings: Settings) -> str:
    found = GeoIP.open(settings.geoip)
    return ", ".join(each.kind for each in found.about()) if found else "nothing"


def _rules(settings: Settings) -> str:
    folders = [part.strip() for part in settings.rules.split(",") if part.strip()]
    for each in folders:
        if not Path(each).is_dir():
            raise ConfigError(f"there is no folder {each}; correct the path, or take it out", setting="rules")
    return f"{len(folders)} folders; `muniment rules check` looks into them"
