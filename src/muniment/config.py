"""Every setting as a row: name, type, default, words. Values come from a TOML file, then the environment, then flags.

A row is stated once, here; the reference page, `muniment doctor` and start-up all read this table. Secrets are
given by file or environment only. Unknown settings are an error: a mistyped setting must not be a silent default. Of the
environment only `doctor` says so, since others may put variables there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from muniment.errors import ConfigError
from muniment.toml_file import Table, read_toml

__all__ = ["SETTINGS", "Settings", "load_settings", "setting_origins", "unknown_variables"]

_FOR_COMMANDS: Final = frozenset({"MUNIMENT_CONFIG", "MUNIMENT_KEY", "MUNIMENT_URL", "MUNIMENT_SPOOL"})
_ORIGIN: Final = re.compile(r"[^\s+]+")
_DOMAIN: Final = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}", re.IGNORECASE)
_SOURCE: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def _row(default: object, words: str, check: Callable[[Any], None] | None = None) -> Any:
    """One settings row; the field's type is its annotation. `check` raises ValueError with what is wrong, and how to mend it."""
    return field(default=default, metadata={"words": words, "check": check})


def _number(low: int, high: int) -> Callable[[int], None]:
    def check(value: int) -> None:
        if not low <= value <= high:
            raise ValueError(f"got {value}; give a number from {low} to {high}")

    return check


def _one_of(*words: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        if value not in words:
            raise ValueError(f"got {value!r}; there are {', '.join(words)}")

    return check


def _network(text: str, *, is_strict: bool = False) -> None:
    try:
        ip_network(text, strict=is_strict)
    except ValueError as error:
        raise ValueError(f"{error}; write networks as in 10.1.0.0/16, or an address") from None


def _networks(value: str) -> None:
    for text in _parts(value):
        _network(text)


def _networks_of_sources(value: str) -> None:
    for pair in _parts(value):
        network, _, source = pair.partition("=")
        if not _SOURCE.fullmatch(source):
            raise ValueError(f"got {pair!r}; write a network and the name of a source, as in 10.1.0.0/16=web")
        _network(network, is_strict=True)


def _origin(value: str) -> None:
    if not _ORIGIN.fullmatch(value):
        raise ValueError(f"got {value!r}; write a name without space and +, as in audit.example.com/main")


def _domains(value: str) -> None:
    for text in _parts(value):
        if not _DOMAIN.fullmatch(text):
            raise ValueError(f"got {text!r}; write domains as in example.com,example.org")


def _web_address(value: str) -> None:
    try:
        parts = urlsplit(value)
        is_fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        is_fine = False
    if value and not is_fine:
        raise ValueError(f"got {value!r}; write the address people type, as in https://audit.example.com")


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


_PORT: Final = _number(-1, 65_535)


@dataclass(frozen=True, slots=True)
class Settings:
    """The effective settings of one server."""

    data: str = _row("var", "Folder of everything this server keeps (ledger, head, keys, store).")
    origin: str = _row(
        "muniment.local/audit/main", "Base of the ledger's origin line; the half-year is added (2026h2).", _origin
    )
    store: str = _row(
        "", "Search store: chdb:///path (default, inside the data folder) or clickhouse://user:pw@host:port/db."
    )
    head: str = _row("", "Head store: a folder (default, inside the data folder; better: on another disk or host).")
    database: str = _row(
        "", "People, sources, keys, saved searches: an SQLAlchemy URL; default SQLite in the data folder."
    )
    host: str = _row("127.0.0.1", "Address to listen on, for pages, API and HTTP doors.")
    port: int = _row(8480, "Port of pages, API and HTTP doors.", _number(0, 65_535))
    otlp_grpc_port: int = _row(4317, "Port of the OTLP gRPC door; 0 picks a free one, -1 switches the door off.", _PORT)
    syslog_udp_port: int = _row(5514, "Port of the syslog UDP door; -1 off.", _PORT)
    syslog_tcp_port: int = _row(5601, "Port of the syslog TCP door (both framings); -1 off.", _PORT)
    syslog_tls_port: int = _row(
        6514, "Port of the syslog TLS door (RFC 5425); needs tls_cert and tls_key; -1 off.", _PORT
    )
    syslog_networks: str = _row(
        "", "Which network is which syslog source: 10.1.0.0/16=web,10.2.0.0/16=db.", _networks_of_sources
    )
    tls_cert: str = _row("", "PEM certificate chain for HTTPS and syslog TLS.")
    tls_key: str = _row("", "PEM private key belonging to tls_cert.")
    tls_client_ca: str = _row("", "PEM authorities whose client certificates syslog TLS accepts.")
    trusted_proxies: str = _row("", "Comma-separated networks whose X-Forwarded-For is believed.", _networks)
    public_url: str = _row("", "How people reach this server; used in links. Default: http://host:port.", _web_address)
    privacy_default: str = _row(
        "sealed", "Policy of a source that names none: sealed or clear.", _one_of("sealed", "clear")
    )
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
    own_domains: str = _row(
        "", "One's own domains, comma-separated; rules look for others made to be taken for them.", _domains
    )
    geoip: str = _row(
        "", "MaxMind-format files (.mmdb) that say where addresses are, comma-separated; none by default."
    )
    session_hours: int = _row(12, "Hours after which a browser session ends.", _number(1, 8_760))
    source_events_per_s: int = _row(
        0,
        "Quota of each source in events per second; 0 means none. Over it: 429 with Retry-After.",
        _number(0, 10_000_000),
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
        ConfigError: a setting that does not exist, or a value that cannot be; says where it stands and how to mend it.
    """
    found = Settings(**{name: value for name, (value, _) in setting_origins(file, environ, flags).items()})  # type: ignore[arg-type]
    for name in ("tls_key", "tls_client_ca"):
        if getattr(found, name) and not found.tls_cert:
            raise ConfigError(
                "is set but tls_cert is not, so nothing would be encrypted; set tls_cert too, or neither", setting=name
            )
    return found


def setting_origins(
    file: Path | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> dict[str, tuple[object, str]]:
    """Each setting that is not a default: name -> (value, where it came from)."""
    found: dict[str, tuple[object, str]] = {}
    if file is not None:
        found |= {name: (value, str(file)) for name, value in read_toml(file, "config", _of_file).items()}
    for variable, text in (os.environ if environ is None else environ).items():
        name = variable.removeprefix("MUNIMENT_").lower()
        if variable.startswith("MUNIMENT_") and name in SETTINGS:
            found[name] = (_of_text(name, text, variable), variable)
    for name, value in (flags or {}).items():
        if value is not None:
            found[name] = (_of_text(name, value, f"--{name}") if isinstance(value, str) else value, "flag")
            _check(name, found[name][0], f"--{name}: ")
    return found


def unknown_variables(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Variables MUNIMENT_* that nobody reads, with the setting that may be meant, or an empty text."""
    found = []
    for variable in sorted(environ):
        name = variable.removeprefix("MUNIMENT_").lower()
        if variable.startswith("MUNIMENT_") and name not in SETTINGS and variable not in _FOR_COMMANDS:
            near = get_close_matches(name, SETTINGS, 1, 0.7)
            found.append((variable, f"MUNIMENT_{near[0].upper()}" if near else ""))
    return found


def _of_file(table: Table) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, row in SETTINGS.items():
        if name not in table:
            continue
        kind = str(row.type)
        example = str(row.default).lower() if kind != "str" else f'"{row.default or "..."}"'
        value = (
            table.flag(name)
            if kind == "bool"
            else table.whole(name, example)
            if kind == "int"
            else table.text(name, example=example)
        )
        with table.checking():
            _check(name, value)
        found[name] = value
    table.done(known="`muniment doctor` lists all settings")
    return found


def _check(name: str, value: object, place: str = "") -> None:
    if (check := SETTINGS[name].metadata["check"]) is not None:
        try:
            check(value)
        except ValueError as error:
            raise ConfigError(f"{place}{error}", setting=name) from None


def _of_text(name: str, text: str, place: str) -> object:
    """A value that was given as text: by a variable."""
    kind = str(SETTINGS[name].type)
    value: object = text
    if kind == "bool":
        if text.lower() not in {"true", "false", "1", "0", "yes", "no"}:
            raise ConfigError(f"{place}: got {text!r}; write true or false", setting=name)
        value = text.lower() in {"true", "1", "yes"}
    elif kind == "int":
        try:
            value = int(text)
        except ValueError:
            fix = "write a whole number"
            if re.match(r"tcp://", text):  # what Kubernetes sets for a service of this name
                fix += "; Kubernetes sets this for a service called muniment: set enableServiceLinks: false in the pod"
            raise ConfigError(f"{place}: got {text!r}; {fix}", setting=name) from None
    _check(name, value, f"{place}: ")
    return value
