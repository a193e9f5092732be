"""A record made by hand: the record room knows no other room."""

import copy

import numpy as np
import pytest

from edgesnn import __version__
from edgesnn.record.base import SCHEMA
from edgesnn.record.files import make_run
from edgesnn.record.model import RunRecord
from edgesnn.record.provenance import collect_provenance


def quantity(value, unit="ms", kind="MEASURED", reason=None, how="by hand"):
    return {
        "value": value,
        "unit": unit,
        "kind": kind,
        "reason": reason,
        "how": how,
        "lower": None,
        "upper": None,
        "n": None,
        "effective_n": None,
    }


STATE = {
    "governor": None,
    "frequency_mhz": None,
    "temperature_c": None,
    "load_average_1min": 0.5,
    "memory_available_bytes": 10**9,
}
NO_POWER = quantity(None, "mW", "ABSENT", "no meter was given", None)
DOCUMENT = {
    "started": "2026-01-01T00:00:00+00:00",
    "seconds": 3.5,
    "target": "cpu",
    "model": {
        "name": "paper-student",
        "program_hash": "ab" * 32,
        "timesteps": 4,
        "context_window": 9,
        "vocab_size": 257,
    },
    "device": {
        "runner": "golden",
        "device": "paper CPU",
        "engine": "golden",
        "engine_version": "1",
        "simulated": False,
        "clock_hz": 1e9,
        "threads": 1,
        "model_files": ["program.snn"],
        "model_bytes": 1000,
        "details": {"library": "/opt/somewhere/libpaper.so", "cores": [0, 1]},
    },
    "profile": {"name": "quick"},
    "verdict": {
        "verdict": "PASS",
        "exit_code": 0,
        "reasons": [],
        "allow_unmeasured": False,
        "invalid": None,
    },
    "budgets": [
        {
            "name": "power_mw",
            "subject": "mean power",
            "quantity": NO_POWER,
            "side": "<",
            "limit": 100.0,
            "required": False,
            "verdict": "UNMEASURED",
            "reason": "no meter was given",
            "samples_needed": None,
        }
    ],
    "quantities": {"latency.p95": quantity(2.5), "power.mean": NO_POWER},
    "not_measured": [{"name": "power.mean", "reason": "no meter was given"}],
    "latency": None,
    "activity": None,
    "parity": None,
    "comparisons": [],
    "marks": [],
    "host": {
        "cpu": "paper CPU",
        "machine": "x86_64",
        "physical_cores": 2,
        "logical_cores": 2,
        "usable_cores": 2,
        "memory_bytes": 8 * 10**9,
        "system": "Linux 6",
        "before": STATE,
        "after": STATE,
    },
}


@pytest.fixture
def document():
    return copy.deepcopy(DOCUMENT)


@pytest.fixture
def run_from(tmp_path):
    """Makes a run of a document: schema, versions and provenance are put to it."""
    provenance = collect_provenance(["edgesnn", "profile", "b"], tmp_path)

    def make(document, arrays=()):
        head = {"schema": SCHEMA, "edgesnn_version": __version__, "created": "2026-01-01T00:00:00+00:00"}
        whole = {**document, **head, "provenance": provenance, "arrays": None}
        return make_run(RunRecord.model_validate(whole), dict(arrays))

    return make


@pytest.fixture
def run(document, run_from):
    return run_from(document, {"times_ms": np.arange(5.0)})
