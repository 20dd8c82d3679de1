"""Every bound of the SDK, with the reason it has that value. Its own file: applications import the SDK and nothing else."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BACKOFF_FIRST_S", "BACKOFF_MAX_S", "BATCH_BYTES_MAX", "BATCH_EVENTS", "BATCH_EVENTS_MAX", "BATCH_WAIT_S",
    "BLOCKLIST_BYTES_MAX", "BLOCKLIST_MAX_AGE_S", "BLOCKLIST_REFRESH_S", "BLOCKLIST_RETRY_S", "BLOCKLIST_TIMEOUT_S",
    "CLOSE_TIMEOUT_S", "DEPTH_MAX", "EVENT_BYTES_MAX", "FORWARDED_HOPS_MAX", "HTTP_TIMEOUT_S", "MEMORY_BYTES_MAX",
    "MEMORY_EVENTS_MAX", "ORIGINS_MAX", "PROBLEM_EVERY_S", "RECEIPTS_MAX", "REQUEST_ID_CHARS_MAX", "RETRY_AFTER_MAX_S",
    "RETRY_DISK_S", "SEGMENT_BYTES_MAX", "SPOOL_BYTES_MAX", "SWEEP_EVERY_S", "SYNC_TIMEOUT_S", "WAIT_FOR_SPACE_S",
]  # fmt: skip

BATCH_EVENTS: Final = 100
BATCH_WAIT_S: Final = 1.0
"""A request leaves at this many events, or when the oldest has waited this long."""

BATCH_EVENTS_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 1024 * 1024
"""What one request holds when there is a backlog: catching up at 100 a request would take ten times as long."""

EVENT_BYTES_MAX: Final = 8 * 1024 * 1024
"""A larger event is a mistake (a file in `before`); it is refused and counted. Real ones are below 300 KiB."""

DEPTH_MAX: Final = 32
"""Values nested deeper are written as text; the server reads 64 levels, and ours stand below others."""

MEMORY_EVENTS_MAX: Final = 10_000
MEMORY_BYTES_MAX: Final = 32 * 1024 * 1024
"""What an application lends us of its memory while the disk or the server is slow."""

SPOOL_BYTES_MAX: Final = 1024 * 1024 * 1024
"""About 1.3 million events: a day of a busy application without a server."""

SEGMENT_BYTES_MAX: Final = 4 * 1024 * 1024
"""A file of the spool; disk comes back in pieces of this size."""

HTTP_TIMEOUT_S: Final = 10.0
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 30.0
RETRY_AFTER_MAX_S: Final = 3600.0
"""A server may ask for longer; we ask again after an hour."""

RETRY_DISK_S: Final = 0.5
"""A spool that refused is tried again this often, not at every event."""

SWEEP_EVERY_S: Final = 30.0
"""How often the spool of processes that died is looked for. The first time after 2 s: siblings start together."""

SYNC_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 5.0
"""How long an ending process waits for its last events. What is spooled is delivered by the next start."""

PROBLEM_EVERY_S: Final = 60.0
"""The same problem is reported this often."""

RECEIPTS_MAX: Final = 1_000_000
"""About 150 MB of receipts; the oldest go first. An event's proof can be asked for without its receipt, by its id."""

WAIT_FOR_SPACE_S: Final = 30.0
"""How long `when_full="block"` holds a caller up; then it raises as well, so that no request hangs for ever."""

BLOCKLIST_REFRESH_S: Final = 10.0
"""A block is obeyed this long after it was made; asking costs an answer without bytes."""

BLOCKLIST_MAX_AGE_S: Final = 600.0
"""An older list is not known: blocks are for hours, and ten minutes are a restart of the server, not a day without one."""

BLOCKLIST_TIMEOUT_S: Final = 2.0
BLOCKLIST_RETRY_S: Final = 2.0
"""A login must not hang for long, nor each of a thousand try again."""

BLOCKLIST_BYTES_MAX: Final = 8 * 1024 * 1024
"""10,000 blocks, the most a server has, are 2 MB at their longest usual values."""

ORIGINS_MAX: Final = 64
"""Ledgers remembered by the witness: half-yearly shards of 32 years."""

FORWARDED_HOPS_MAX: Final = 32
REQUEST_ID_CHARS_MAX: Final = 128
