"""A comparison as the document ``edgesnn.compare/1``, and its JSON Schema."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from edgesnn.reports.comparison import SCHEMA, RunComparison

_ADAPTER = TypeAdapter(RunComparison)


def comparison_document(comparison: RunComparison) -> dict[str, Any]:
    """The comparison as JSON-like data, without the schema's name."""
    found: dict[str, Any] = _ADAPTER.dump_python(comparison, mode="json")
    return found


def compare_schema() -> dict[str, Any]:
    """The JSON Schema of the whole document."""
    schema = _ADAPTER.json_schema(mode="serialization")
    schema["properties"] = {
        "schema": {"const": SCHEMA},
        "edgesnn_version": {"type": "string"},
        **schema["properties"],
    }
    schema["required"] = ["schema", "edgesnn_version", *schema["required"]]
    return schema
