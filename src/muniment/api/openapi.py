"""The OpenAPI 3.1 document, made from the same list of operations as the routes."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from muniment import __version__
from muniment.api.operations import WHOLE_NUMBERS, Empty, Operation, Problem

__all__ = ["openapi_document"]

_REF = "#/components/schemas/{name}"
_PROBLEMS = {
    400: "The request must be changed; `error.reason` says how, `error.field` and `error.column` where.",
    401: "No valid session or API key.",
    403: "A permission is missing; `error.permission` names it.",
    404: "There is no such thing, or it is not visible to you.",
    406: "There is no such form of it; `Accept` another.",
    409: "It is there already, or is running already.",
    413: "The body is too large.",
    415: "The body must be application/json.",
    500: "An error inside the server; `error.reason` holds the number under which its log has more.",
    503: "Busy, or storage has stopped; `Retry-After` says when to come back.",
    507: "The disk is full; `Retry-After` says when to come back.",
}
_HEADERS = {
    401: {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "How to sign in."}},
    503: {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
    507: {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}},
}


def openapi_document(operations: list[Operation]) -> dict[str, Any]:
    """The document as plain data, ready for JSON."""
    types = {
        kind
        for op in operations
        for kind in (op.params, op.body, op.answer, op.also, Problem)
        if kind not in (None, Empty)
    }
    _, made = msgspec.json.schema_components(sorted(types, key=lambda kind: kind.__name__), ref_template=_REF)
    components = _modern(made)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Muniment",
            "version": __version__,
            "description": "Search the internal audit log, and prove every answer.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key, mk_..."},
                "session": {"type": "apiKey", "in": "cookie", "name": "muniment_session"},
            },
        },
    }


def _modern(value: Any) -> Any:
    """JSON Schema 2020-12 as OpenAPI 3.1 wants it: the fixed places of an array are `prefixItems`."""
    if isinstance(value, list):
        return [_modern(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {name: _modern(item) for name, item in value.items()}
    if isinstance(found.get("items"), list):
        found |= {"prefixItems": found["items"], "items": False}
    return found


def _operation(operation: Operation, components: dict[str, Any]) -> dict[str, Any]:
    path_names = re.findall(r"\{(\w+)(?::\w+)?\}", operation.path)
    document: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [_path_parameter(name) for name in path_names] + _query_parameters(operation, components),
        "responses": {str(operation.status): _success(operation)}
        | {str(status): _problem(status) for status in sorted(_refusals(operation, bool(path_names)))},
    }
    if operation.body is not Empty:
        is_required = bool(components[operation.body.__name__].get("required"))  # an empty body is one without fields
        content = {"application/json": {"schema": _ref(operation.body)}}
        document["requestBody"] = {"required": is_required, "content": content}
    if operation.permission is not None:
        document["security"] = [{"key": []}, {"session": []}]
        document["description"] = f"Needs the permission `{operation.permission}`."
    return document


def _ref(kind: type[Any]) -> dict[str, Any]:
    return {"$ref": _REF.format(name=kind.__name__)}


def _success(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.answer is None:
        content = {
            media_type: {"schema": {} if "+json" in media_type else {"type": "string"}}
            for media_type in operation.media_types
        }
    for kind in (operation.answer, operation.also):
        if kind is not None:
            content["application/json"] = {"schema": _ref(kind)}
    return {"description": "Success", "content": content}


def _problem(status: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": _PROBLEMS[status],
        "content": {"application/json": {"schema": _ref(Problem)}},
    }
    return found | ({"headers": _HEADERS[status]} if status in _HEADERS else {})


def _refusals(operation: Operation, has_path_parameters: bool) -> set[int]:
    """Which refusals can come, from the operation's shape."""
    found = {400, 401, 500, 503} | set(operation.refusals)
    if operation.permission is not None:
        found |= {403, 507}  # 507: what is read or changed is recorded first
    if has_path_parameters:
        found |= {404}
    if operation.body is not Empty:
        found |= {413, 415}
    return found


def _path_parameter(name: str) -> dict[str, Any]:
    if name in WHOLE_NUMBERS:
        schema: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
        return {"name": name, "in": "path", "required": True, "schema": schema, "example": 0}
    schema = {"type": "string", "minLength": 1, "maxLength": 64}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(operation: Operation, components: dict[str, Any]) -> list[dict[str, Any]]:
    if operation.params is Empty:
        return []
    schema = components[operation.params.__name__]
    required = set(schema.get("required", ()))
    return [
        {
            "name": name,
            "in": "query",
            "required": name in required,
            "schema": {key: value for key, value in properties.items() if key != "description"},
            "description": properties.get("description", ""),
            **({"style": "form", "explode": False} if name in operation.list_params else {}),
        }
        for name, properties in schema["properties"].items()
    ]
