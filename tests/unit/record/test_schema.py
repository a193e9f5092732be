import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from edgesnn.record.schema import run_schema, schema_text
from tests.support.patience import patience

ROOT = Path(__file__).parents[3]


def test_the_published_schema_is_the_model_s():
    published = (ROOT / "docs" / "schema" / "run.schema.json").read_text(encoding="utf-8")
    assert published == schema_text(), "python -m edgesnn.record.schema > docs/schema/run.schema.json"


def test_the_command_prints_the_schema():
    done = subprocess.run(
        [sys.executable, "-m", "edgesnn.record.schema"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert done.returncode == 0
    assert done.stdout == schema_text()


def test_the_schema_is_a_schema_and_a_record_validates_against_it(run):
    jsonschema.Draft202012Validator.check_schema(run_schema())
    jsonschema.validate(run.record.to_json(), run_schema(), cls=jsonschema.Draft202012Validator)


def test_the_schema_refuses_what_the_model_refuses(run):
    raw = json.loads(json.dumps(run.record.to_json()))
    raw["colour"] = "red"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw, run_schema())
