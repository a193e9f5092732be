"""The JSON Schema of the run record: ``python -m edgesnn.record.schema`` prints it."""

from __future__ import annotations

import json
import sys
from typing import Any

from edgesnn.record.model import RunRecord

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def run_schema() -> dict[str, Any]:
    """The schema, generated from the model."""
    schema = RunRecord.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": DIALECT, "$id": "edgesnn.run/1", **schema}


def schema_text() -> str:
    """The schema as the text that is published."""
    return json.dumps(run_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
