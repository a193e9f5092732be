"""A run is read and validated once, whatever a report needs it for."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from edgesnn.api.reporting import report_run
from edgesnn.record.model import RunRecord
from tests.support import page_records as records

_OPENED: list[Counter] = []


def _note(event, arguments):
    if event == "open" and _OPENED and isinstance(arguments[0], str | Path):
        _OPENED[-1][Path(arguments[0]).name] += 1


sys.addaudithook(_note)  # sees every way to open a file; it does nothing outside of the fixture


@pytest.fixture
def opened():
    """How often each file name was opened."""
    _OPENED.append(Counter())
    yield _OPENED[-1]
    _OPENED.pop()


@pytest.fixture
def runs(tmp_path):
    for day in range(1, 7):
        found = records.document(created=f"2026-03-0{day}T10:00:00+00:00", power=True)
        records.write_record(tmp_path / "runs", f"r{day}", found, records.arrays(day, power=True))
    return tmp_path / "runs"


HEAD, BASE, ALL = ["r6"], ["r1"], [f"r{day}" for day in range(1, 7)]


@pytest.fixture
def validated(monkeypatch):
    """How many records were validated."""
    count = Counter()
    validate = RunRecord.model_validate_json

    def counted(data, **options):
        count["records"] += 1
        return validate(data, **options)

    monkeypatch.setattr(RunRecord, "model_validate_json", counted)
    return count


@pytest.mark.parametrize(
    ("beside", "arrays_of"),
    [
        ({}, HEAD),
        ({"base": "r1.json"}, HEAD + BASE),
        ({"base": "r6.json"}, HEAD),
        ({"base": "r1.json", "history": "."}, HEAD + BASE),
        ({"history": "."}, HEAD),
        ({"base": "."}, ALL),
    ],
)
def test_a_report_opens_each_record_and_its_arrays_once(runs, opened, validated, beside, arrays_of):
    paths = {name: runs / place for name, place in beside.items()}
    made = report_run(runs / "r6.json", runs / "page.html", **paths)
    assert made.head.run.arrays
    expected = set(ALL if "history" in beside else arrays_of)
    assert {name: count for name, count in opened.items() if name.endswith(".json")} == {
        f"{name}.json": 1 for name in expected
    }
    assert {name: count for name, count in opened.items() if name.endswith(".npz")} == {
        f"{name}.npz": 1 for name in arrays_of
    }
    assert validated["records"] == len(expected)


def test_trends_alone_open_no_arrays(runs, opened):
    from edgesnn.reports.html.folder import read_folder

    rows, skipped = read_folder(runs)
    assert (len(rows), skipped) == (6, [])
    assert not [name for name in opened if name.endswith(".npz")]
