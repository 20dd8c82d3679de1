"""Every bound in Muniment, with the reason it has that value. A leaf module; rooms import names from here."""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- one record -------------------------------------------------------------------------------------------------
RECORD_BYTES_MAX: Final = 1 * MIB
"""One event's JSON text. The largest real audit events seen (Microsoft 365, Kubernetes patches) are below 300 KiB."""

LEAF_BYTES_MAX: Final = 65_535
"""C2SP tlog-tiles: an entry in a bundle has a 16-bit length prefix."""

PRODUCER_ID_CHARS_MAX: Final = 512
"""A producer's own event id; longer ids are not ids. Okta's and CloudTrail's are 36."""

SOURCE_ID_CHARS_MAX: Final = 64
"""A source id is typed by people and stands in every leaf."""

JSON_DEPTH_MAX: Final = 64
"""Deeper than any real audit event, far above the recursion that parsers allow."""

# --- one request ------------------------------------------------------------------------------------------------
BODY_BYTES_MAX: Final = 64 * MIB
"""A decoded request body: 10,000 events of 6 KiB. Beyond it the sender must split (413)."""

BODY_RATIO_MAX: Final = 100
"""Decoded : encoded size. Repetitive NDJSON reaches 30 : 1 with zstd; bombs reach 1,000 : 1 and more."""

BODY_RATIO_FREE_BYTES: Final = 1 * MIB
"""Below this decoded size the ratio is not looked at: tiny highly repetitive bodies are harmless."""

# --- one batch of the writer ------------------------------------------------------------------------------------
BATCH_EVENTS_MAX: Final = 5_000
BATCH_BYTES_MAX: Final = 8 * MIB
BATCH_WAIT_MS: Final = 50
"""ARCHITECTURE section 2: a batch closes at 50 ms, 5,000 events or its bytes; one fdatasync per batch."""

PENDING_BYTES_MAX: Final = 96 * MIB
"""What doors may hold un-acknowledged in memory. Past it they answer BusyError (R12: RSS stays bounded)."""

PACK_ENTRIES: Final = 65_536
"""ARCHITECTURE section 3: one Parquet pack is 256 full bundles."""

DISK_RESERVE_BYTES: Final = 64 * MIB
"""R4: kept free so that reads, verify and the `disk.full` record still work."""
