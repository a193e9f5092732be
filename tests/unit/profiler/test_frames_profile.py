"""A network that reads frames through the whole house: profile, gate, comparison, pages."""

import json

import numpy as np
import pytest

import edgesnn
from edgesnn.errors import ConfigError, UsageError
from edgesnn.profiler.budgets.profile import FramesProfile, for_target, load_profile
from edgesnn.record.files import read_run
from edgesnn.reports.comparing.compare import base_sides, compare_runs
from edgesnn.reports.comparing.summary import summarise_run
from edgesnn.reports.html.run_page import run_page
from edgesnn.reports.html.sources import source_of
from tests.support.wake_networks import LENGTH, held_out, wake_bundle, wake_program, worsened

PROFILE = """
schema = "edgesnn.profile/1"
name = "frames"
[workload]
kind = "frames"
frames_per_second = 50.0
windows = 2
min_window_seconds = 0.0
min_window_frames = 20
memory_probes = 0
activity_frames = 40
parity_frames = 40
[budgets]
frame_ms_p95 = { limit = 1000.0 }
points_below_float = { limit = 2.0, required = true }
parity_mismatches = { limit = 0.0, required = true }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle, the same one damaged, a profile, and a record of each."""
    path = tmp_path_factory.mktemp("frames")
    windows = held_out(400, flipped=0.1)
    (path / "frames.toml").write_text(PROFILE)
    wake_bundle(path / "wake", windows=windows)
    wake_bundle(path / "worse", worsened(wake_program(), noise=70.0), windows)
    for name in ("wake", "worse"):
        profiled(path, name, output=path / f"{name}.json")
    return path


def profiled(path, name, **more):
    options = {"target": "golden", "profile": path / "frames.toml", "compare": False, **more}
    return edgesnn.profile_bundle(path / name, **options)


def test_a_record_of_frames_speaks_of_frames_and_never_of_tokens(folder):
    record = read_run(folder / "wake.json").record
    assert record.verdict.verdict.value == "PASS"
    assert record.model.vocab_size is None and record.model.frames.decision_frames == LENGTH
    names = set(record.quantities)
    assert {"frame.p95", "decision.p95", "throughput.frames", "energy.per_frame"} <= names
    assert not {
        name for name in names if name.startswith(("latency.", "forward.", "first_token.", "generation."))
    }
    said = [f"{name} {one.unit} {one.how} {one.reason}" for name, one in record.quantities.items()]
    said += [f"{one.name} {one.subject}" for one in record.budgets]
    assert [text for text in said if "token" in text or "logit" in text] == []
    assert "token" not in json.dumps(record.profile)


def test_a_decision_takes_as_long_as_its_frames_in_the_record(folder):
    run = read_run(folder / "wake.json")
    frames, decisions = run.arrays["per_frame_ms"], run.arrays["per_decision_ms"]
    np.testing.assert_allclose(decisions, frames.reshape(-1, LENGTH).sum(axis=1))
    assert run.record.quantities["decision.max"].value == pytest.approx(decisions.max())


def test_accuracy_is_that_of_golden_on_the_windows_of_the_bundle(folder):
    found = read_run(folder / "wake.json").record.quantities
    windows = held_out(400, flipped=0.1)
    right = (windows.float_decisions == windows.labels).mean()  # the float network decides as golden does
    assert found["accuracy.decisions"].value == pytest.approx(right)
    assert found["accuracy.points_below_float"].value == 0.0
    assert found["accuracy.same_decisions"].value == 1.0


def test_a_worsened_network_is_caught_by_the_budget(folder):
    record = read_run(folder / "worse.json").record
    assert record.verdict.exit_code == 3
    assert [one.name for one in record.budgets if one.verdict == "FAIL"] == ["points_below_float"]


def test_a_worsened_network_is_caught_by_the_comparison(folder):
    base, head = (summarise_run(read_run(folder / f"{name}.json"), name) for name in ("wake", "worse"))
    found = compare_runs(base_sides([base]), [head])
    metrics = {one.name: one for one in found.targets[0].metrics}
    assert metrics["accuracy.decisions"].outcome.value == "regression"
    assert metrics["accuracy.decisions"].unit_of_n == "windows"
    assert metrics["parity.mismatches"].unit == "outputs"
    assert found.exit_code == 3
    same = {
        one.name: one.outcome.value for one in compare_runs(base_sides([base]), [base]).targets[0].metrics
    }
    assert same["accuracy.decisions"] == "no change"


def test_other_windows_are_not_paired(folder, tmp_path):
    wake_bundle(folder / "other", windows=held_out(400, seed=5))
    other = profiled(folder, "other", output=tmp_path / "other.json")
    base, head = summarise_run(read_run(folder / "wake.json"), "a"), summarise_run(other, "b")
    metrics = {one.name: one for one in compare_runs(base_sides([base]), [head]).targets[0].metrics}
    assert metrics["accuracy.decisions"].reason == "base and head were scored on other windows"


def test_a_page_of_frames_speaks_of_frames(folder):
    base, head = (source_of(read_run(p), p, folder) for p in (folder / "wake.json", folder / "worse.json"))
    compared = compare_runs(base_sides([summarise_run(base.run, "a")]), [summarise_run(head.run, "b")])
    text = run_page(head, base, compared).split("<section")
    shown = "".join(part for part in text if 'id="raw"' not in part and 'id="setting"' not in part)
    assert "How long a frame takes" in shown and "Every frame of every window" in shown
    assert "token" not in shown and "break-even" not in shown
    assert f"frames of 12, {LENGTH} of them a decision, 4 outputs" in shown


def test_two_bundles_take_turns(folder):
    found = edgesnn.profile_interleaved(
        folder / "wake", folder / "worse", target="golden", profile=folder / "frames.toml"
    )
    assert found.a.record.interleaving.order in ("ABBA", "BAAB", "ABAB", "BABA", "AB", "BA")
    assert found.a.record.quantities["frame.p50"].value > 0


def test_without_held_out_windows_the_record_says_what_is_missing(folder, tmp_path):
    wake_bundle(tmp_path / "bare")
    (tmp_path / "frames.toml").write_text(PROFILE)
    record = profiled(tmp_path, "bare", allow_unmeasured=True).record
    assert "random frames" in record.latency.text
    reasons = {one.name: one.reason for one in record.not_measured}
    assert "--calibration" in reasons["decision.p95"] and "--calibration" in reasons["accuracy.decisions"]


@pytest.mark.parametrize(
    ("profile", "given", "message"),
    [("quick", "wake", "reads frames"), ("always-on", "text", "is a language model")],
)
def test_a_profile_of_the_other_kind_is_one_clear_error(folder, bundle, profile, given, message):
    given = bundle if given == "text" else folder / given
    with pytest.raises(UsageError, match=message) as caught:
        edgesnn.profile_bundle(given, target="golden", profile=profile)
    assert "--profile" in caught.value.remedy


def test_a_length_that_contradicts_the_windows_is_refused(folder, tmp_path):
    path = tmp_path / "other.toml"
    path.write_text(PROFILE.replace("[budgets]", "decision_frames = 7\n[budgets]"))
    with pytest.raises(UsageError, match="disagree"):
        edgesnn.profile_bundle(folder / "wake", target="golden", profile=path)


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        ("parity_frames", "parity_tokens", "parity_tokens is no key"),
        ("points_below_float", "retention", "retention is no key"),
        ('kind = "frames"', 'kind = "token"', "frames_per_second is no key"),
    ],
)
def test_keys_of_the_other_kind_are_none(tmp_path, was, now, message):
    path = tmp_path / "wrong.toml"
    path.write_text(PROFILE.replace(was, now))
    with pytest.raises(ConfigError, match=message):
        load_profile(str(path))


def test_settings_of_a_target_need_not_repeat_the_kind(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(PROFILE + "[target.golden.workload]\nmin_window_frames = 7\n")
    own = for_target(load_profile(str(path)), "golden")
    assert isinstance(own, FramesProfile)
    assert (own.workload.min_window_frames, own.workload.windows) == (7, 2)


def test_always_on_has_the_budgets_of_always_on():
    budgets = load_profile("always-on").budgets
    assert (budgets.frame_ms_p95.limit, budgets.always_on_mw.limit) == (10.0, 10.0)
    assert (budgets.size_mb.limit, budgets.points_below_float.limit) == (1.0, 1.0)
    gates = [name for name, limit in budgets if limit.required]
    assert gates == ["frame_ms_p95", "always_on_mw", "size_mb", "points_below_float", "parity_mismatches"]
