"""``edgesnn profile --all-targets`` and ``--interleave`` on a tiny bundle."""

import json

import pytest

from edgesnn.api import all_targets, interleaving
from edgesnn.cli.main import run
from edgesnn.errors import RunnerError, UserError
from edgesnn.record.files import read_run
from edgesnn.record.profiles import EXIT_ORDER, Profiles, worst
from tests.support.bundles import copied_bundle, shared_bundle

TINY = """
schema = "edgesnn.profile/1"
name = "tiny"
[workload]
prompt_tokens = 4
windows = 2
min_window_seconds = 0.0
min_window_tokens = 8
warmup_tokens = 2
first_tokens = 2
activity_tokens = 0
memory_probes = 0
parity_tokens = 8
accuracy_tokens = 0
[budgets]
parity_mismatches = { limit = 0.0, required = true }
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def profiled(capsys, tiny, tmp_path):
    """Exit code and document of ``profile --json``."""

    def go(*arguments):
        records = ["--output", str(tmp_path / "records"), "--profile", str(tiny)]
        code = run(["profile", *map(str, arguments), *records, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return go


def test_every_usable_target_gets_a_record_and_every_other_one_a_reason(profiled, tmp_path):
    code, document = profiled(shared_bundle(), "--all-targets")
    assert Profiles.model_validate(document).exit_code == code == 0
    rows = {row["target"]: row for row in document["targets"]}
    skipped = {row["target"]: row["reason"] for row in document["skipped"]}
    assert {"onnxruntime", "onnxruntime-fp32"} <= set(rows)
    assert "definition" in skipped["golden"]
    assert "profiled by its own name" in skipped["cpu"]
    assert "no format 'tflite'" in skipped["litert"] or "litert" in skipped["litert"].lower()
    assert not set(rows) & set(skipped)
    for row in rows.values():
        assert read_run(tmp_path / "records" / row["file"]).record.to_json() == row["record"]


def test_a_float_baseline_is_shown_and_does_not_gate(profiled):
    code, document = profiled(shared_bundle(), "--all-targets")
    baseline = next(row for row in document["targets"] if row["target"] == "onnxruntime-fp32")
    assert (baseline["gates"], baseline["exit_code"], code) == (False, 6, 0)
    assert "baseline" in baseline["reason"]


def test_a_target_with_settings_of_its_own_is_profiled_too(profiled, tiny):
    tiny.write_text(TINY + "[target.cpu.budgets]\nsize_mb = { limit = 0.000001, required = true }\n")
    code, document = profiled(shared_bundle(), "--all-targets")
    rows = {row["target"]: row for row in document["targets"]}
    assert rows["cpu"]["exit_code"] == 3 and rows["onnxruntime"]["exit_code"] == 0
    assert code == 3


def test_a_target_that_fails_does_not_stop_the_others_and_is_the_exit_code(profiled, monkeypatch):
    whole = all_targets.profile_bundle

    def fail(bundle, options, **known):
        if options.target == "onnxruntime":
            raise RunnerError("the engine refused the model", remedy="look at it")
        return whole(bundle, options, **known)

    monkeypatch.setattr(all_targets, "profile_bundle", fail)
    code, document = profiled(shared_bundle(), "--all-targets")
    rows = {row["target"]: row for row in document["targets"]}
    assert rows["onnxruntime"]["error"]["what"] == "the engine refused the model"
    assert rows["onnxruntime"]["record"] is None
    assert rows["onnxruntime-fp32"]["record"] is not None
    assert code == 4


def test_the_table_has_a_column_per_target_and_names_who_was_left_out(capsys, tiny, tmp_path):
    run(["profile", str(shared_bundle()), "--all-targets", "--profile", str(tiny), "-o", str(tmp_path / "r")])
    text = capsys.readouterr().out
    assert "onnxruntime-fp32: a float32 baseline" in text
    assert "skipped" in text and "golden:" in text and "mismatches with golden" in text


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([], 0), ([0, 6], 6), ([6, 1, 4], 4), ([4, 3, 6], 3), ([3, 5], 5), ([0, 99], 99)],
)
def test_the_worst_exit_code_counts_by_the_order_that_is_stated(codes, expected):
    assert worst(codes) == expected
    assert set(codes) - {99} <= set(EXIT_ORDER)


def test_two_bundles_in_turns_share_one_session(profiled, tmp_path):
    other = copied_bundle(tmp_path / "other")
    code, document = profiled(
        shared_bundle(), other, "--interleave", "--target", "onnxruntime", "--seed", "3"
    )
    assert code == 0
    first, second = (record["interleaving"] for record in document["records"])
    assert (first["role"], second["role"]) == ("A", "B")
    for key in ("id", "order", "seed", "median_ratio", "mean_ratio", "statement"):
        assert first[key] == second[key]
    assert first["order"] in ("ABBA", "BAAB")
    assert document["median_ratio"]["windows_a"] == 2
    for record, name in zip(document["records"], document["files"], strict=True):
        assert len(record["latency"]["windows"]) == 2
        assert record["parity"]["mismatches"] == 0
        assert read_run(tmp_path / "records" / name).record.to_json() == record
    assert document["median_ratio"]["value"] == pytest.approx(
        _geometric(document["records"][1]) / _geometric(document["records"][0])
    )


def test_windows_are_measured_in_the_order_that_the_record_states(profiled, tmp_path, monkeypatch):
    other, measured = copied_bundle(tmp_path / "other"), []
    whole = interleaving.measure_windows

    def watch(runner, *arguments, **settings):
        measured.append(id(runner))
        return whole(runner, *arguments, **settings)

    monkeypatch.setattr(interleaving, "measure_windows", watch)
    _, document = profiled(shared_bundle(), other, "--interleave", "--windows", "3")
    order = document["records"][0]["interleaving"]["order"]
    assert len(order) == 8
    names = dict(zip(order[:2], measured[:2], strict=True))
    assert [names[role] for role in order] == measured


def _geometric(record):
    product = 1.0
    for window in record["latency"]["windows"]:
        product *= window["median_ms"]
    return product ** (1 / len(record["latency"]["windows"]))


def test_bundles_that_no_runner_can_run_both_are_refused_with_the_reason(profiled, tmp_path):
    other = copied_bundle(tmp_path / "other")
    code, document = profiled(shared_bundle(), other, "--interleave", "--target", "litert")
    assert code in (2, 4)
    assert "litert" in document["error"]["actual"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--interleave"], "two bundles"),
        (["--interleave", "--all-targets"], "exclude each other"),
        (["--all-targets", "--target", "native"], "takes no --target"),
        (["--all-targets", "--output", "one.json"], "do not fit"),
    ],
)
def test_flags_that_contradict_each_other_are_refused_before_anything_runs(capsys, arguments, words):
    assert run(["profile", "nowhere", *arguments, "--json"]) == 2
    assert words in json.loads(capsys.readouterr().out)["error"]["what"]


def test_two_bundles_without_a_word_of_how_are_refused(capsys):
    assert run(["profile", "one", "two", "--json"]) == 2
    assert "--interleave" in json.loads(capsys.readouterr().out)["error"]["remedy"]


def test_a_bundle_that_is_none_is_the_user_s_error(profiled, tmp_path):
    code, document = profiled(tmp_path / "nothing", "--all-targets")
    assert code == UserError.exit_code and document["error"]["code"] == "bundle"
