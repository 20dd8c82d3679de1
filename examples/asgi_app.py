"""A small ASGI application with an audit log; run it with `uvicorn asgi_app:app`. No framework, so that all is visible."""

import json
from typing import Any

from muniment.sdk import Audit, bind
from muniment.sdk.asgi import AuditMiddleware

audit = Audit.from_environment()


async def invoices(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        audit.close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    bind(actor={"id": "u-17", "type": "user", "name": "Anna Ruiz"})  # whoever the session belongs to
    number = scope["path"].rsplit("/", 1)[-1]
    # `alog` lets other requests go on while the disk confirms.
    event_id = await audit.alog(
        "invoice.approve", target={"type": "invoice", "id": number}, after={"state": "approved"}
    )
    body = json.dumps({"approved": number, "event": event_id}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


app = AuditMiddleware(invoices, trusted_proxies=["127.0.0.0/8"])
