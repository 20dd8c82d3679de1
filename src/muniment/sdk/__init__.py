"""What applications import to record events; the standard library only.

    from muniment.sdk import Audit, context

    audit = Audit("https://audit.example.com", "mk_...", spool="/var/lib/shop/audit")
    with context(actor="u-17", request_id="r-1"):
        audit.log("invoice.approve", target="inv-9", before={"state": "open"}, after={"state": "approved"})

Whether somebody is blocked says `muniment.sdk.blocklist`. Middleware is in `muniment.sdk.asgi` and `muniment.sdk.wsgi`, the logging handler in `muniment.sdk.log_handler`, proofs
in `muniment.sdk.proofs`, the pytest fixture in `muniment.sdk.pytest_plugin`.
"""

from muniment.sdk.audit import Audit
from muniment.sdk.context import bind, context, current_context
from muniment.sdk.errors import NotKeptError, NotRecordedError, ProofError
from muniment.sdk.event import Actor, Target
from muniment.sdk.receipts import Receipt
from muniment.sdk.sender import Problem
from muniment.sdk.witness import Checkpoint

__all__ = [
    "Actor", "Audit", "Checkpoint", "NotKeptError", "NotRecordedError", "Problem", "ProofError", "Receipt", "Target",
    "bind", "context", "current_context",
]  # fmt: skip
