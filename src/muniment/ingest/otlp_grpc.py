"""The OTLP/gRPC door: `LogsService/Export` on port 4317, and the standard health service.

The Collector's default exporter speaks gRPC, so HTTP alone is not enough. Messages are taken and given as bytes: the
same parser as behind HTTP reads them. What can be sent again is UNAVAILABLE, or RESOURCE_EXHAUSTED with RetryInfo
(exporters retry the latter only with it); what cannot is INVALID_ARGUMENT. Never a partial success.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from muniment.errors import AuditError, BusyError, ConfigError, RejectedError, StorageError
from muniment.event.model import Arrival
from muniment.ingest.admission import credential_of
from muniment.ingest.door_otlp import rpc_status
from muniment.ingest.http_request import DoorContext, failure_of
from muniment.limits import BODY_BYTES_MAX, BODY_THREAD_BYTES, GRPC_STREAMS_MAX
from muniment.wire.otlp import decode_otlp_protobuf, status_message

__all__ = ["OtlpGrpcDoor"]

DOOR = "otlp-grpc"

_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"  # HealthCheckResponse{status = 1}


class OtlpGrpcDoor:
    """One listener. `start` answers the bound port; `stop` lets exports under way finish."""

    def __init__(self, ctx: DoorContext) -> None:
        self._ctx = ctx
        self._server: Any = None

    async def start(self, host: str, port: int, credentials: Any = None) -> int:
        """Listen; `credentials` (grpc.ssl_server_credentials) switches TLS on. Port 0 picks a free one.

        Raises:
            ConfigError: the port cannot be had.
        """
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", BODY_BYTES_MAX),
                ("grpc.max_concurrent_streams", GRPC_STREAMS_MAX),
                ("grpc.so_reuseport", 0),
            ]
        )
        logs = {"Export": grpc.unary_unary_rpc_method_handler(self._export)}
        health = {"Check": grpc.unary_unary_rpc_method_handler(self._check)}
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("opentelemetry.proto.collector.logs.v1.LogsService", logs),
                grpc.method_handlers_generic_handler("grpc.health.v1.Health", health),
            )
        )
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = (
                self._server.add_secure_port(address, credentials)
                if credentials is not None
                else self._server.add_insecure_port(address)
            )
        except RuntimeError as error:
            raise ConfigError(
                f"{address} cannot be had; MUNIMENT_OTLP_GRPC_PORT names another port, -1 none",
                setting="otlp_grpc_port",
            ) from error
        await self._server.start()
        return int(bound)

    async def stop(self, grace_s: float = 10.0) -> None:
        """Take no new exports, finish those under way."""
        if self._server is not None:
            await self._server.stop(grace_s)

    async def _export(self, message: bytes, context: Any) -> bytes:
        source = ""
        try:
            metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
            peer = self._ctx.admission.proxies.client(_address(context.peer()), metadata)
            token = credential_of(metadata.get("authorization", ""))
            source = await self._ctx.admission.authenticate(token, peer=peer)
            await self._seal(source, peer, message)
        except AuditError as error:
            self._ctx.admission.reject(
                source, "otlp-grpc", f"{type(error).__name__}:{getattr(error, 'field', '')}"[:64]
            )
            await self._abort(context, error)
        return b""  # ExportLogsServiceResponse without partial_success

    async def _seal(self, source: str, peer: str, message: bytes) -> None:
        if len(message) > BODY_THREAD_BYTES:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(None, lambda: decode_otlp_protobuf(message, door=DOOR))
        else:
            found = decode_otlp_protobuf(message, door=DOOR)
        if not found.records:
            return
        arrival = Arrival(
            source=source,
            door=DOOR,
            received_at=self._ctx.now_ns(),
            records=found.records,
            ids=found.ids if any(found.ids) else None,
            quarantined=found.quarantined if any(found.quarantined) else None,
            peer=peer,
        )
        self._ctx.admission.spend(source, len(found.records), arrival.n_bytes)
        await self._ctx.pipeline.submit(arrival)

    async def _abort(self, context: Any, error: AuditError) -> None:
        code, retry_ms = rpc_status(error)
        words = failure_of(error)[1] if isinstance(error, (BusyError, StorageError, RejectedError)) else str(error)
        if retry_ms:
            context.set_trailing_metadata((("grpc-status-details-bin", status_message(code, words, retry_ms)),))
        by_number = {status.value[0]: status for status in grpc.StatusCode}
        await context.abort(by_number[code], words)

    async def _check(self, message: bytes, context: Any) -> bytes:
        return _NOT_SERVING if self._ctx.trouble() else _SERVING


def _address(peer: str) -> str:
    """gRPC's `ipv4:10.0.0.1:5000` or `ipv6:%5B::1%5D:5000` as an address with port."""
    return peer.partition(":")[2].replace("%5B", "[").replace("%5D", "]")
