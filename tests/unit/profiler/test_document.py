"""From a session to a record on disk, and what the command shows of it."""

import json
from dataclasses import replace

import jsonschema
import pytest
import typer

from edgesnn.api import profiling
from edgesnn.cli.output import CommandOutput
from edgesnn.cli.profile import command
from edgesnn.cli.profile import show as profile_show
from edgesnn.errors import RecordError
from edgesnn.profiler.counts.memory import Probe
from edgesnn.profiler.document import session_run
from edgesnn.profiler.latency.comparison import compare_forward, no_comparison
from edgesnn.profiler.results import Absent
from edgesnn.record.files import read_run, write_run
from edgesnn.record.model import RunRecord
from edgesnn.record.provenance import collect_provenance
from edgesnn.record.schema import run_schema

PROBE = Probe(1_000_000, 50_000_000, 60_000_000, 70_000_000, 12.0, 10.0, 300.0, 8, "a probe of the tests")


@pytest.fixture
def make_record(parts, run_paper, make_profile, tmp_path):
    def make(runner=None, accuracy=None, parity=None, device=None, **budgets):
        result = run_paper(
            make_profile({"memory_probes": 1}, **budgets),
            runner,
            device=device or parts.device,
            target="cpu",
            accuracy=accuracy,
            parity=parity,
            memory_probe=lambda: PROBE,
        )
        name = "onnxruntime-fp32"
        other = no_comparison(name, Absent("not here"))
        if result.latency is not None:
            engine = replace(result.subject, target=name, runner=parts.Runner(step_ns=1_000_000))
            other = compare_forward(engine, result, on_progress=parts.silent, subject_runner=parts.Runner())
        comparisons = [other, no_comparison("litert", Absent("not installed"))]
        return session_run(
            result, collect_provenance(["edgesnn"], tmp_path), comparisons=comparisons, notes=["a note"]
        )

    return make


def test_a_session_becomes_a_record_that_validates_and_survives_the_disk(make_record, tmp_path):
    run = make_record(power_mw={"limit": 100.0, "required": True})
    path = tmp_path / "run.json"
    written = write_run(run, path)
    raw = json.loads(path.read_text())
    jsonschema.validate(raw, run_schema(), cls=jsonschema.Draft202012Validator)
    again = read_run(path)
    assert again.record == written.record
    assert {"per_token_ms", "first_token_ms", "window_00_latencies_ms"} <= set(again.arrays)
    assert raw["verdict"]["exit_code"] == 6
    assert {"power.mean", "energy.per_token"} <= {entry["name"] for entry in raw["not_measured"]}


def test_a_record_names_no_folder_of_the_machine(make_record, bundle):
    text = json.dumps(make_record().record.to_json())
    assert str(bundle.path.parent) not in text
    assert "/opt/" not in text
    assert '"name": "paper-student"' in text


def test_the_marks_of_a_run_end_with_the_notes_of_the_caller(make_record):
    assert make_record().record.marks[-1] == "a note"


def test_what_no_record_can_hold_is_refused_by_its_place(make_record, parts):
    device = replace(parts.device, details={"handle": object()})
    with pytest.raises(RecordError, match="the run breaks the schema .* at 'details.handle"):
        make_record(device=device)


def test_counts_are_whole_and_energies_estimated_from_them(make_record):
    record = make_record().record
    work = record.activity.work
    assert work.tokens == record.activity.tokens == 16
    assert work.spikes == sum(layer.spikes for layer in record.activity.layers)
    for op in record.activity.ops:
        assert op.effective * 16 == pytest.approx(op.effective_total)
        assert op.name.startswith(op.op)
    assert [shift.channels for shift in record.activity.shifts] == [16] * 4
    assert record.energy.kind == "ESTIMATED"
    for estimate in record.energy.estimates:
        quantity = record.quantities[f"energy_estimate.{estimate.name}"]
        assert (quantity.kind, quantity.unit) == ("ESTIMATED", "uJ")
        assert quantity.value == pytest.approx(sum(estimate.parts_uj.values()))
        assert quantity.value > 0
    assert record.energy.constants["weight_byte_pj"].status == "ASSUMED"
    assert record.quantities["energy.per_token"].kind == "ABSENT"


def test_a_record_of_the_time_before_energy_estimates_is_still_read(make_record):
    raw = make_record().record.to_json()
    del raw["energy"], raw["activity"]["work"], raw["activity"]["shifts"]
    for layer in raw["activity"]["layers"]:
        del layer["spikes"], layer["membrane_updates"]
    for op in raw["activity"]["ops"]:
        del op["op"], op["dense_total"], op["effective_total"], op["weight_bytes_total"]
    record = RunRecord.model_validate(raw)
    assert record.energy is None and record.activity.work is None
    jsonschema.validate(raw, run_schema(), cls=jsonschema.Draft202012Validator)


def test_the_energies_are_shown_as_estimates_with_their_constants(make_record, shown):
    text = shown(make_record().record)
    for words in (
        "energy per token, estimated by table horowitz-45nm",
        "bit-matched dense network",
        "uJ ESTIMATED",
        "weights moved",
        "ASSUMED",
        "is above about 6%",
        "blocks.0.attn.qkv.q",
        "bits per byte of the teacher",
    ):
        assert words in text


def test_a_session_that_measured_nothing_still_makes_a_record(make_record, parts):
    runner = parts.Runner(capabilities=frozenset())
    record = make_record(runner, accuracy=Absent("no text"), parity=Absent("not exact")).record
    assert record.latency is None
    assert "latency.p95" in {entry.name for entry in record.not_measured}


@pytest.fixture
def shown(monkeypatch, capsys):
    def show(record, details=True):
        monkeypatch.setenv("COLUMNS", "200")
        profile_show.render(CommandOutput("profile", json_mode=False), record, details=details)
        return capsys.readouterr().out

    return show


def test_the_tables_show_budgets_intervals_comparisons_and_what_is_missing(make_record, shown):
    text = shown(make_record(power_mw={"limit": 100.0, "required": True}).record)
    for words in (
        "paper-student",
        "engine paper 1",
        "UNMEASURED",
        "no meter was given",
        "one generated token with full context, p95",
        "text decode",
        "spikes per layer",
        "cpu is slower than onnxruntime-fp32",
        "litert: not installed",
        "verdict: UNDECIDED (exit code 6)",
        "power.*, energy.*: no meter was given",
    ):
        assert words in text


def test_without_details_the_numbers_stand_alone(make_record, shown):
    record = make_record(power_mw={"limit": 100.0, "required": True}).record
    text = shown(record, details=False)
    assert "one generated token with full context, p95" in text
    assert "verdict: UNDECIDED (exit code 6)" in text
    assert "spikes per layer" not in text
    assert "host clock" not in text
    assert len(text.splitlines()) < len(shown(record).splitlines())


def test_a_record_without_latency_is_shown_too(make_record, parts, shown):
    text = shown(make_record(parts.Runner(capabilities=frozenset())).record)
    assert "cannot run one token at a time" in text


def _call(monkeypatch, tmp_path, run, **options):
    monkeypatch.chdir(tmp_path)

    def measured(bundle, options, **_):
        return run if options.output is None else write_run(run, options.output)

    monkeypatch.setattr(profiling, "profile_bundle", measured)
    command.profile([tmp_path / "bundle"], **options)


def test_the_command_writes_the_record_prints_it_and_exits_by_the_verdict(
    make_record, monkeypatch, tmp_path, capsys
):
    run = make_record(size_mb={"limit": 1.0, "required": True})
    with pytest.raises(typer.Exit) as stop:
        _call(monkeypatch, tmp_path, run, json_mode=True)
    assert stop.value.exit_code == 3
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, run_schema(), cls=jsonschema.Draft202012Validator)
    [path] = (tmp_path / "runs").glob("*.json")
    assert path.name.startswith("paper-student-cpu-")
    assert json.loads(path.read_text()) == document


def test_the_command_says_where_the_record_is(make_record, monkeypatch, tmp_path, capsys):
    _call(monkeypatch, tmp_path, make_record(), output=tmp_path / "mine.json")
    assert "mine.json" in capsys.readouterr().out
    assert (tmp_path / "mine.npz").is_file()
