"""A `logging` handler: log lines that carry an event become events of the audit log.

    logger.info("approved", extra={"audit": {"action": "invoice.approve", "target": "inv-9"}})

`audit` holds the keywords of `Audit.log`. Lines without it are not for us, unless `default_action` is set. Unlike other
handlers this one lets NotKeptError through to the caller: an audit event that is lost must not look like success.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from muniment.sdk.audit import Audit

__all__ = ["AuditHandler"]


class AuditHandler(logging.Handler):
    """Sends to `audit`. `default_action` makes every line an event, with its text as metadata."""

    def __init__(self, audit: Audit, *, default_action: str | None = None, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._audit = audit
        self._default_action = default_action

    def emit(self, record: logging.LogRecord) -> None:
        said = getattr(record, "audit", None)
        if record.name.partition(".")[0] == "muniment":
            return  # the SDK's own words: reporting a full spool into the spool would never end
        if said is None and self._default_action is None:
            return
        fields: dict[str, Any] = {"action": self._default_action or f"{record.name}.log"}
        fields |= dict(said) if isinstance(said, Mapping) else {}
        if "outcome" not in fields and record.levelno >= logging.ERROR:
            fields["outcome"] = "failure"
        try:
            message = record.getMessage()
        except Exception:  # arguments that do not fit the text; the event matters more
            message = str(record.msg)
        metadata: dict[str, object] = {"message": message, "logger": record.name, "level": record.levelname}
        metadata |= {"code": f"{record.pathname}:{record.lineno}"} | dict(fields.get("metadata") or {})
        if record.exc_info and record.exc_info[0] is not None:
            metadata["exception"] = f"{record.exc_info[0].__name__}: {record.exc_info[1]}"
        fields["metadata"] = metadata
        fields.setdefault("occurred_ns", int(record.created * 1_000_000) * 1_000)
        self._audit.log(**fields)
