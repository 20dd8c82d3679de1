"""Every operation of the API in one list, and its description, which needs no running server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from muniment.api.admin_operations import admin_operations
from muniment.api.alert_operations import alert_operations
from muniment.api.case_operations import case_operations
from muniment.api.erasure_operations import erasure_operations
from muniment.api.feed_operations import feed_operations
from muniment.api.format_operations import format_operations
from muniment.api.ledger_operations import ledger_operations
from muniment.api.notice_operations import notice_operations
from muniment.api.openapi import openapi_document
from muniment.api.operations import HEADERS, Operation
from muniment.api.order_operations import order_operations
from muniment.api.response_operations import response_operations
from muniment.api.rule_operations import rule_operations
from muniment.api.search_operations import search_operations
from muniment.api.services import Services
from muniment.api.taxii_operations import taxii_operations
from muniment.api.webhook_operations import webhook_operations

__all__ = ["every_operation", "openapi", "openapi_endpoint"]


def every_operation(services: Services) -> list[Operation]:
    """All of them over `services`; routes and description are made from this one list."""
    return [
        *search_operations(services),
        *ledger_operations(services),
        *admin_operations(services),
        *webhook_operations(services),
        *format_operations(services),
        *erasure_operations(services),
        *alert_operations(services),
        *rule_operations(services),
        *feed_operations(services),
        *response_operations(services),
        *notice_operations(services),
        *order_operations(services),
        *case_operations(services),
        *taxii_operations(services),
    ]


def openapi() -> dict[str, Any]:
    """The API's description; needs no running server."""
    nothing: Any = None
    return openapi_document(every_operation(nothing))


def openapi_endpoint(operations: list[Operation]) -> Callable[[Request], Any]:
    """The description, made once."""
    body = msgspec.json.encode(openapi_document(operations))

    async def endpoint(_: Request) -> Response:
        return Response(body, media_type="application/json", headers=HEADERS)

    return endpoint
