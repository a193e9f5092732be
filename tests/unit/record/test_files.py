import json

import numpy as np
import pytest

from edgesnn.errors import OutputError, RecordError
from edgesnn.record.base import refuse_misfits
from edgesnn.record.files import check_output, find_record, read_record, read_run, with_arrays, write_run
from tests.support.records import run_from


def test_what_is_written_is_read_back(run, tmp_path):
    path = tmp_path / "runs" / "one.json"
    written = write_run(run, path)
    again = read_run(path)
    assert again.record == written.record
    np.testing.assert_array_equal(again.arrays["times_ms"], np.arange(5.0))
    assert sorted(p.name for p in path.parent.iterdir()) == ["one.json", "one.npz"]


def test_a_run_without_arrays_has_no_file_beside_it(document, run, tmp_path):
    write_run(run_from(document, {}, run.record.provenance), tmp_path / "one.json")
    assert [p.name for p in tmp_path.iterdir()] == ["one.json"]
    assert read_run(tmp_path / "one.json").record.arrays is None


def test_the_record_stands_without_its_arrays(run, tmp_path):
    path = tmp_path / "one.json"
    write_run(run, path)
    path.with_suffix(".npz").unlink()
    assert read_record(path).target == "cpu"
    with pytest.raises(RecordError, match="missing"):
        read_run(path)


def test_changed_arrays_are_refused(run, tmp_path):
    path = tmp_path / "one.json"
    write_run(run, path)
    np.savez(path.with_suffix(".npz"), times_ms=np.arange(6.0))
    with pytest.raises(RecordError, match="changed after the run"):
        read_run(path)


def test_a_failed_write_leaves_the_old_record(run, tmp_path, monkeypatch):
    path = tmp_path / "one.json"
    write_run(run, path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgesnn.whole_files.os.fsync", full)
    with pytest.raises(OutputError, match="cannot be written"):
        write_run(run, path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_path_that_is_no_json_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(OutputError, match="json"):
        check_output(tmp_path / "run.txt")
    (tmp_path / "run.json").mkdir()
    with pytest.raises(OutputError, match="folder"):
        check_output(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.update(schema="edgesnn.run/2"), "no run record of this version"),
        (lambda r: r.update(colour=1), "colour"),
        (lambda r: r.pop("target"), "target"),
        (lambda r: r["quantities"]["latency.p95"].update(value="2.5"), "latency.p95.value"),
        (lambda r: r["quantities"]["latency.p95"].update(value=float("nan")), "latency.p95.value"),
        (lambda r: r["quantities"]["latency.p95"].update(value=None), "latency.p95"),
        (lambda r: r["quantities"]["power.mean"].update(value=0.0), "power.mean"),
        (lambda r: r["quantities"]["power.mean"].update(reason=None), "power.mean"),
        (lambda r: r["not_measured"].clear(), "the whole record"),
        (lambda r: r["verdict"].update(exit_code=1), "exit_code"),
        (lambda r: r["model"].update(program_hash="xyz"), "program_hash"),
        (lambda r: r["arrays"].update(file="../elsewhere.npz"), "arrays.file"),
    ],
)
def test_a_record_that_breaks_the_schema_is_refused_by_place(run, tmp_path, change, words):
    path = tmp_path / "one.json"
    write_run(run, path)
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(RecordError, match=words):
        read_record(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100_000, '{"schema": 3}'])
def test_what_is_no_record_is_refused(tmp_path, text):
    path = tmp_path / "one.json"
    path.write_text(text)
    with pytest.raises(RecordError):
        read_record(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        '{"schema": 3}',
        '{"schema": "edgesnn.map/1"}',
        '{"note": "edgesnn.run/1"}',
        '{"schema": "edgesnn.profiles/1", "targets": [{"record": {"schema": "edgesnn.run/1"}}]}',
        '{"filler": "' + "x" * 5_000 + '", "schema": "edgesnn.run/1"',
    ],
)
def test_what_does_not_say_that_it_is_a_record_is_passed_over_in_a_folder(tmp_path, text):
    path = tmp_path / "one.json"
    path.write_text(text)
    assert find_record(path) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"schema": "edgesnn.run/1"',
        '{"schema": "edgesnn.run/2"}',
        '{"schema": "edgesnn.run/1", "target": 3}',
        '\ufeff{"schema": "edgesnn.run/1"}',
        '{"filler": "' + "x" * 5_000 + '", "schema": "edgesnn.run/2"}',
    ],
)
def test_a_broken_record_in_a_folder_is_told(tmp_path, text):
    path = tmp_path / "one.json"
    path.write_text(text)
    with pytest.raises(RecordError):
        find_record(path)


def test_a_record_is_found_wherever_its_schema_is_named(run, tmp_path):
    path = tmp_path / "one.json"
    written = write_run(run, path)
    assert find_record(path) == written.record
    raw = json.loads(path.read_text())
    last = {"filler": "x" * 5_000, **raw}
    path.write_text(json.dumps(raw, sort_keys=True))
    assert find_record(path) == written.record
    path.write_text(json.dumps(raw).replace("edgesnn.run/1", "edgesnn.run\\/1"))
    assert find_record(path) == written.record
    path.write_text(json.dumps(last, sort_keys=True))
    with pytest.raises(RecordError, match="filler"):
        find_record(path)


def test_a_record_that_is_too_large_is_refused_and_another_file_is_not_read(run, tmp_path, monkeypatch):
    path = tmp_path / "one.json"
    write_run(run, path)
    monkeypatch.setattr("edgesnn.record.files._MAX_BYTES", 1_000)
    for read in (read_record, find_record):
        with pytest.raises(RecordError, match="too large"):
            read(path)
    path.write_text(json.dumps({"other": "x" * 5_000, "schema": "edgesnn.run/1"}))
    assert find_record(path) is None


def test_damaged_arrays_leave_a_run_that_says_so(run, tmp_path):
    path = tmp_path / "one.json"
    written = write_run(run, path)
    assert with_arrays(written.record, path).whole().arrays.keys() == {"times_ms"}
    path.with_suffix(".npz").write_bytes(b"edited")
    damaged = with_arrays(written.record, path)
    assert damaged.record == written.record
    assert not damaged.arrays
    with pytest.raises(RecordError, match="changed after the run"):
        damaged.whole()


def test_a_missing_record_is_refused(tmp_path):
    with pytest.raises(RecordError, match="cannot read"):
        read_record(tmp_path / "nothing.json")


def test_making_a_record_of_wrong_data_names_the_place(document, run):
    document["seconds"] = -1
    with (
        pytest.raises(RecordError, match="the run breaks the schema .* at 'seconds'"),
        refuse_misfits("the run"),
    ):
        run_from(document, {}, run.record.provenance)


def test_no_absolute_path_of_the_machine_enters_a_record(document, run, tmp_path):
    document["quantities"]["power.mean"]["reason"] = f"the probe died: no file '{tmp_path}/x y/probe.py'"
    document["not_measured"][0]["reason"] = document["quantities"]["power.mean"]["reason"]
    text = json.dumps(run_from(document, {}, run.record.provenance).record.to_json())
    assert str(tmp_path) not in text
    assert "/opt/" not in text
    assert "libpaper.so" in text
