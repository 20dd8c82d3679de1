"""Every setting as a row: name, type, default, words. Values come from a TOML file, then the environment, then flags.

A row is stated once, here; the reference page, `muniment doctor` and start-up all read this table. Secrets are
given by file or environment only. Unknown settings are an error: a mistyped setting must not be a silent default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from muniment.errors import ConfigError

__all__ = ["SETTINGS", "Settings", "load_settings", "setting_origins"]


def _row(default: object, words: str) -> Any:
    """One settings row; the field's type is its annotation."""
    return field(default=default, metadata={"words": words})


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings of one server."""

    data: str = _row("var", "Folder of everything this server keeps (ledger, head, keys, store).")
    origin: str = _row(
        "muniment.local/audit/main", "Base of the ledger's origin line; the half-year is added (2026h2)."
    )
    store: str = _row(
        "", "Search store: chdb:///path (default, inside the data folder) or clickhouse://user:pw@host:port/db."
    )
    head: str = _row("", "Head store: a folder (default, inside the data folder; better: on another disk or host).")
    database: str = _row(
        "", "People, sources, keys, saved searches: an SQLAlchemy URL; default SQLite in the data folder."
    )
    host: str = _row("127.0.0.1", "Address to listen on, for pages, API and HTTP doors.")
    port: int = _row(8480, "Port of pages, API and HTTP doors.")
    otlp_grpc_port: int = _row(4317, "Port of the OTLP gRPC door; 0 picks a free one, -1 switches the door off.")
    syslog_udp_port: int = _row(5514, "Port of the syslog UDP door; -1 off.")
    syslog_tcp_port: int = _row(5601, "Port of the syslog TCP door (both framings); -1 off.")
    syslog_tls_port: int = _row(6514, "Port of the syslog TLS door (RFC 5425); needs tls_cert and tls_key; -1 off.")
    syslog_networks: str = _row("", "Which network is which syslog source: 10.1.0.0/16=web,10.2.0.0/16=db.")
    tls_cert: str = _row("", "PEM certificate chain for HTTPS and syslog TLS.")
    tls_key: str = _row("", "PEM private key belonging to tls_cert.")
    tls_client_ca: str = _row("", "PEM authorities whose client certificates syslog TLS accepts.")
    trusted_proxies: str = _row("", "Comma-separated networks whose X-Forwarded-For is believed.")
    public_url: str = _row("", "How people reach this server; used in links. Default: http://host:port.")
    privacy_default: str = _row("sealed", "Policy of a source that names none: sealed or clear.")
    seal_worker: bool = _row(
        True, "Seal large batches in a process of their own; without it a sealed source takes half as many events."
    )
    detect_worker: bool = _row(
        True,
        "Run the rules in a process of their own; without it they take turns with the doors, and alerts come later.",
    )
    static_bundles: bool = _row(
        False, "Keep every C2SP entry bundle as a file, besides the packs (about 170 bytes an event)."
    )
    rules: str = _row("", "Folders of Sigma rules besides our own, comma-separated; looked at every two seconds.")
    notify: str = _row(
        "",
        "TOML file of channels, routes and actions: who is told of alerts, who ends sessions (docs/how-to/detect.md).",
    )
    pull: str = _row("", "TOML file of buckets whose files are pulled (docs/how-to/send.md).")
    own_domains: str = _row("", "One's own domains, comma-separated; rules look for others made to be taken for them.")
    geoip: str = _row(
        "", "MaxMind-format files (.mmdb) that say where addresses are, comma-separated; none by default."
    )
    session_hours: int = _row(12, "Hours after which a browser session ends.")
    source_events_per_s: int = _row(
        0, "Quota of each source in events per second; 0 means none. Over it: 429 with Retry-After."
    )

    @property
    def data_path(self) -> Path:
        """The data folder."""
        return Path(self.data)

    @property
    def store_url(self) -> str:
        """The search store's URL, with the default filled in."""
        return self.store or f"chdb://{(self.data_path / 'store').resolve()}"

    @property
    def head_url(self) -> str:
        """The head store's place, with the default filled in."""
        return self.head or str(self.data_path / "head")

    @property
    def database_url(self) -> str:
        """The database's URL, with the default filled in."""
        return self.database or f"sqlite:///{(self.data_path / 'muniment.db').resolve()}"

    @property
    def base_url(self) -> str:
        """How people reach this server."""
        return self.public_url or f"{'https' if self.tls_cert else 'http'}://{self.host}:{self.port}"


SETTINGS = {row.name: row for row in fields(Settings)}


def load_settings(
    file: Path | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> Settings:
    """The effective settings: defaults, then `file` (TOML), then MUNIMENT_* variables, then `flags`.

    Raises:
        ConfigError: a setting that does not exist, or a value of the wrong kind; `.setting` names it.
    """
    return Settings(**{name: value for name, (value, _) in setting_origins(file, environ, flags).items()})  # type: ignore[arg-type]


def setting_origins(
    file: Path | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> dict[str, tuple[object, str]]:
    """Each setting that is not a default: name -> (value, where it came from)."""
    found: dict[str, tuple[object, str]] = {}
    if file is not None:
        try:
            table = tomllib.loads(file.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot read {file}: {error.strerror}", setting="config") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: {error}", setting="config") from error
        for name, value in table.items():
            found[name] = (_typed(name, value), str(file))
    for variable, text in (os.environ if environ is None else environ).items():
        name = variable.removeprefix("MUNIMENT_").lower()
        if variable.startswith("MUNIMENT_") and name in SETTINGS:
            found[name] = (_typed(name, text), variable)
    for name, value in (flags or {}).items():
        if value is not None:
            found[name] = (_typed(name, value), "flag")
    return found


def _typed(name: str, value: object) -> object:
    row = SETTINGS.get(name)
    if row is None:
        raise ConfigError("there is no such setting", setting=name)
    kind = {"int": int, "bool": bool, "str": str}[str(row.type)]
    if kind is bool and isinstance(value, str) and value.lower() in {"true", "false", "1", "0", "yes", "no"}:
        return value.lower() in {"true", "1", "yes"}
    if kind is int and isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise ConfigError(f"expected a whole number, got {value!r}", setting=name) from None
    if type(value) is not kind:
        raise ConfigError(f"expected {kind.__name__}, got {type(value).__name__}", setting=name)
    return value
