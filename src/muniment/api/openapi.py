"""The OpenAPI 3.1 document, made from the same list of operations as the routes."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from muniment import __version__
from muniment.api.operations import Empty, Operation, Problem

__all__ = ["openapi_document"]

_REF = "#/components/schemas/{name}"
_PROBLEMS = {
    "400": "The request must be changed; `error.reason` says how.",
    "401": "No valid session or API key.",
    "403": "A permission is missing; `error.permission` names it.",
    "404": "There is no such thing.",
    "413": "The body is too large.",
    "422": "A proof does not hold.",
    "429": "Over quota; `Retry-After` says when to come back.",
    "503": "Busy, or storage has stopped; `Retry-After` says when to come back.",
}


def openapi_document(operations: list[Operation]) -> dict[str, Any]:
    """The document as plain data, ready for JSON."""
    types = {
        kind for op in operations for kind in (op.params, op.body, op.answer, Problem) if kind not in (None, Empty)
    }
    _, components = msgspec.json.schema_components(sorted(types, key=lambda kind: kind.__name__), ref_template=_REF)
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


def _operation(operation: Operation, components: dict[str, Any]) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Success"}
    if operation.answer is not None:
        success["content"] = {"application/json": {"schema": {"$ref": _REF.format(name=operation.answer.__name__)}}}
    else:
        success["content"] = {operation.media_type: {"schema": {"type": "string"}}}
    problem = {"application/json": {"schema": {"$ref": _REF.format(name="Problem")}}}
    document: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [_path_parameter(name) for name in re.findall(r"\{(\w+)(?::\w+)?\}", operation.path)]
        + _query_parameters(operation, components),
        "responses": {
            str(operation.status): success,
            **{code: {"description": words, "content": problem} for code, words in _PROBLEMS.items()},
        },
    }
    if operation.body is not Empty:
        schema = {"$ref": _REF.format(name=operation.body.__name__)}
        document["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if operation.permission is not None:
        document["security"] = [{"key": []}, {"session": []}]
        document["description"] = f"Needs the permission `{operation.permission}`."
    return document


def _path_parameter(name: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 0} if name == "index" else {"type": "string"}
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
