"""Records from plain data, as tests write them by hand."""

from edgesnn import __version__
from edgesnn.record.base import SCHEMA
from edgesnn.record.files import RunData, make_run
from edgesnn.record.model import Provenance, RunRecord


def run_from(document, arrays, provenance: Provenance, created="2026-01-01T00:00:00+00:00") -> RunData:
    """A run whose record is ``document`` with schema, versions and provenance put to it."""
    complete = {
        **document,
        "schema": SCHEMA,
        "edgesnn_version": __version__,
        "created": created,
        "provenance": provenance,
        "arrays": None,
    }
    return make_run(RunRecord.model_validate(complete), arrays)
