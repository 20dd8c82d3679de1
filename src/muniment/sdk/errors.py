"""What the SDK raises: an event that is not kept, one that is not recorded though that was required, a wrong proof."""

from __future__ import annotations

__all__ = ["NotKeptError", "NotRecordedError", "ProofError"]


class NotKeptError(Exception):
    """The event was not taken: the spool is full, the disk refused, or it is too large. It will not be delivered."""

    def __init__(self, event_id: str, reason: str) -> None:
        self.event_id = event_id
        self.reason = reason
        super().__init__(f"event {event_id} is not kept: {reason}")


class NotRecordedError(Exception):
    """The ledger has not acknowledged an event that was required before going on.

    `.is_kept` says whether it lies in the spool and will be delivered later all the same.
    """

    def __init__(self, event_id: str, reason: str, *, is_kept: bool) -> None:
        self.event_id = event_id
        self.reason = reason
        self.is_kept = is_kept
        super().__init__(f"event {event_id} is not recorded: {reason}")


class ProofError(Exception):
    """A receipt and a proof do not belong together, or a signature is not the ledger's. Nobody may ignore it."""
