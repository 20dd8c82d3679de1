"""A small WSGI application with an audit log, half of it through `logging`; run it with `gunicorn wsgi_app:app`."""

import json
import logging
from collections.abc import Callable, Iterable
from typing import Any

from muniment.sdk import Audit
from muniment.sdk.log_handler import AuditHandler
from muniment.sdk.wsgi import AuditMiddleware

audit = Audit.from_environment()
logger = logging.getLogger("invoices")
logger.setLevel(logging.INFO)
logger.addHandler(AuditHandler(audit))


def invoices(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    number = environ["PATH_INFO"].rsplit("/", 1)[-1]
    if environ["REQUEST_METHOD"] == "DELETE":
        logger.warning("refused", extra={"audit": {"action": "invoice.delete", "target": number, "outcome": "denied"}})
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return [b"no"]
    event_id = audit.log("invoice.read", target={"type": "invoice", "id": number})
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"invoice": number, "event": event_id}).encode()]


app = AuditMiddleware(invoices, actor=lambda environ: environ.get("REMOTE_USER"))
