"""Every error Muniment raises, typed by who must act. A leaf: any room may import it, it imports none.

The class says who acts; attributes carry the values; the text is for people. The table `HTTP_STATUS` and
`EXIT_CODE` are the only places where an error meets a protocol. Edges catch once, rooms never swallow.
"""

from __future__ import annotations

__all__ = [
    "EXIT_CODE",
    "HTTP_STATUS",
    "AuditError",
    "BusyError",
    "ConfigError",
    "DeniedError",
    "RejectedError",
    "StorageError",
    "VerificationError",
]


class AuditError(Exception):
    """The root of everything Muniment raises on purpose."""


class RejectedError(AuditError):
    """The sender must change the request. `field` names the place, `reason` says what is wrong with it."""

    def __init__(self, reason: str, *, field: str = "", column: int | None = None, status: int = 400) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.reason = reason
        self.field = field
        self.column = column
        self.status = status


class DeniedError(AuditError):
    """Someone must grant a permission. `permission` names it; empty when nobody is signed in. `who`: the id of who was
    refused, where that is known.
    """

    def __init__(self, message: str, *, permission: str = "", is_authenticated: bool = True, who: str = "") -> None:
        super().__init__(message)
        self.permission = permission
        self.is_authenticated = is_authenticated
        self.who = who


class BusyError(AuditError):
    """Try again after `retry_after_ms`. `is_quota`: the sender is over its quota (429), else we are full (503)."""

    def __init__(self, message: str, *, retry_after_ms: int = 1_000, is_quota: bool = False) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms
        self.is_quota = is_quota


class ConfigError(AuditError):
    """The operator must change `setting`; the server does not start."""

    def __init__(self, message: str, *, setting: str = "") -> None:
        super().__init__(f"{setting}: {message}" if setting else message)
        self.setting = setting


class StorageError(AuditError):
    """The operator must look at the disk; sequencing has stopped. `path` is the file concerned."""

    def __init__(self, message: str, *, path: str = "", is_full: bool = False) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.is_full = is_full


class VerificationError(AuditError):
    """Nobody may ignore it: `expected` and `computed` differ. `evidence` holds the proof material as received."""

    def __init__(
        self, message: str, *, expected: object = None, computed: object = None, evidence: object = None
    ) -> None:
        super().__init__(message)
        self.expected = expected
        self.computed = computed
        self.evidence = evidence


HTTP_STATUS: dict[type[AuditError], int] = {
    RejectedError: 400,
    DeniedError: 403,
    BusyError: 503,
    ConfigError: 500,
    StorageError: 503,
    VerificationError: 422,
}

EXIT_CODE: dict[type[AuditError], int] = {
    RejectedError: 2,
    DeniedError: 3,
    BusyError: 4,
    ConfigError: 5,
    StorageError: 6,
    VerificationError: 10,
}
