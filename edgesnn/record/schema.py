"""The JSON Schema of the run record: ``python -m edgesnn.record.schema`` prints it."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from edgesnn.record.model import RunRecord

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: Names of definitions that were published before their classes had names of their own.
_PUBLISHED = {
    "ChangeScale": "Scale",
    "ChipLimits": "Limits",
    "ComparisonVerdict": "Verdict",
    "LatencyWindow": "Window",
    "RunComparison": "Comparison",
    "SourcedCount": "Count",
    "SourcedEnergy": "Energy",
}


def run_schema() -> dict[str, Any]:
    """The schema, generated from the model."""
    schema = RunRecord.model_json_schema(by_alias=True, mode="serialization")
    return published({"$schema": DIALECT, "$id": "edgesnn.run/1", **schema})


def published(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its definitions under the names that its readers know."""
    text = json.dumps(schema)
    for ours, name in _PUBLISHED.items():
        text = re.sub(rf'(?<=["/]){ours}(?=")', name, text)
    found: dict[str, Any] = json.loads(text)
    return found


def schema_text() -> str:
    """The schema as the text that is published."""
    return json.dumps(run_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
