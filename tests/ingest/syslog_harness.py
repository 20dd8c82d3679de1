"""What the syslog tests share: a ledger in memory that protests, a running server, a small certificate authority."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.live import PATIENCE, PATIENCE_S

from muniment.errors import BusyError
from muniment.event.model import Arrival
from muniment.ingest.syslog import ListenerSettings, SyslogServer

__all__ = ["Authority", "Ledger", "serving", "until"]


class Ledger:
    """Keeps arrivals as the pipeline would; can be busy, slow or broken, and protests at malformed arrivals."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.losses: list[tuple[str, int]] = []
        self.refusals: list[tuple[str, str]] = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.busy_times = 0
        self.error: Exception | None = None

    async def submit(self, arrival: Arrival) -> object:
        assert arrival.door.startswith("syslog-")
        assert arrival.records
        assert arrival.quarantined is None or len(arrival.quarantined) == len(arrival.records)
        if self.busy_times:
            self.busy_times -= 1
            raise BusyError("full", retry_after_ms=5)
        await self.is_open.wait()
        if self.error is not None:
            raise self.error
        self.arrivals.append(arrival)
        return None

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(record) for arrival in self.arrivals for record in arrival.records]

    @property
    def messages(self) -> list[str]:
        return [record["syslog"]["message"] for record in self.records if "syslog" in record]

    @property
    def sources(self) -> set[str]:
        return {arrival.source for arrival in self.arrivals}


@contextlib.asynccontextmanager
async def serving(ledger: Ledger, *listeners: ListenerSettings) -> AsyncIterator[SyslogServer]:
    server = SyslogServer(
        listeners,
        ledger.submit,
        clock_ns=time.time_ns,
        on_loss=lambda source, count, since: ledger.losses.append((source, count)),
        on_refused=lambda peer, reason: ledger.refusals.append((peer, reason)),
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop(deadline_s=30)


async def until(is_true: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + max(seconds, min(seconds * PATIENCE, PATIENCE_S))
    while not is_true():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.01)


class Authority:
    """A small certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        self.path = folder / "ca.pem"
        self.path.write_bytes(
            self._sign(self._name, self._key.public_key(), True).public_bytes(serialization.Encoding.PEM)
        )

    def _sign(self, subject: x509.Name, key: Any, is_authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        names = [x509.DNSName("localhost")]
        return (
            x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
            .serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )  # fmt: skip

    def issue(self, name: str) -> tuple[Path, bytes]:
        """A file with certificate and key for `name`, and the certificate's DER."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Acme"),
                x509.NameAttribute(x509.NameOID.COMMON_NAME, name),
            ]
        )
        certificate = self._sign(subject, key.public_key(), False)
        path = self._folder / f"{name}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return path, certificate.public_bytes(serialization.Encoding.DER)
