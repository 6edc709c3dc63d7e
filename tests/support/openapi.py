"""What an OpenAPI document leaves unsaid."""

from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]  # Any: JSON


def undocumented(document: Document) -> list[str]:
    """What a reader would miss: descriptions of operations and parameters, examples of what bodies are made of."""
    return [*_of_operations(document), *_of_schemas(document["components"]["schemas"])]


def _of_operations(document: Document) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = f"{method.upper()} {path}"
            if not operation.get("description"):
                yield f"{name}: what it does"
            for parameter in operation.get("parameters", ()):
                if not parameter.get("description"):
                    yield f"{name}: {parameter['name']}"
            if {"201", "304"} & operation["responses"].keys():
                success = operation["responses"].get("201") or operation["responses"]["200"]
                if "ETag" not in success.get("headers", ()):
                    yield f"{name}: the header ETag"


def _of_schemas(schemas: Document) -> Iterator[str]:
    for name, schema in schemas.items():
        if not schema.get("description"):
            yield name
        for field, described in schema.get("properties", {}).items():
            parts = [described, *described.get("anyOf", ()), described.get("items", {})]
            if not any("examples" in part or "$ref" in part for part in parts):
                yield f"{name}.{field}"
