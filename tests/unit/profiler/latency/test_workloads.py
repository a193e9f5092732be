"""Workloads of whole answers and sentences, duty cycles, and settings per target."""

import numpy as np
import pytest

from edgesnn.errors import ConfigError
from edgesnn.profiler.budgets.profile import Cell, for_target, load_profile, unknown_overrides
from edgesnn.profiler.latency.generation import measure_generation
from edgesnn.profiler.power.duty import (
    RunPower,
    battery_life_hours,
    busy_share,
    duty_quantities,
    mean_power_mw,
)
from edgesnn.record.quantities import Kind
from edgesnn.runners.base import Capability, Output


@pytest.fixture
def measured(parts, make_profile):
    def measure(runner=None, **workload):
        chosen = make_profile(
            {"kind": "prompt", "generated_tokens": 4, "min_window_seconds": 0.1, **workload}
        )
        return measure_generation(
            runner or parts.Runner(),
            chosen.workload,
            parts.tokenizer,
            np.arange(50, dtype=np.int32),
            on_progress=parts.silent,
        )

    return measure


def test_a_run_takes_the_prompt_and_every_generated_token(measured):
    found = measured()
    record = found.record
    assert (record.form, record.prompt_tokens, record.generated_tokens) == ("step", 8, 4)
    assert found.token_ms.shape == (len(found.total_ms), 3)
    assert found.first_ms == pytest.approx(np.full(len(found.first_ms), 8 * 2.0), rel=0.2)
    assert found.total_ms == pytest.approx(found.first_ms + found.token_ms.sum(axis=1))


def test_a_window_holds_as_many_runs_as_last_its_least_time(measured):
    found = measured()
    runs = found.record.runs
    assert len(runs) == 3 and sum(runs) == len(found.total_ms)
    assert set(runs) == {5}  # 11 steps of 2 ms in a run, 100 ms in a window


def test_a_prompt_is_prefilled_where_the_runner_can(measured, parts):
    capabilities = frozenset({Capability.STEP, Capability.LOGITS, Capability.PREFILL})
    found = measured(parts.Runner(capabilities=capabilities))
    assert found.record.form == "prefill"
    assert found.first_ms.mean() == pytest.approx(2.0, rel=0.3)


def test_an_answer_of_one_token_has_no_later_token(measured):
    assert measured(generated_tokens=1).token is None


def test_a_device_that_generates_another_answer_makes_the_run_invalid(parts, run_paper, make_profile):
    class Moody(parts.Runner):
        turns = 0

        def step(self, tokens):
            self.turns += 1
            logits = np.zeros((1, self.vocab), np.int32)
            logits[0, 1 + self.turns // 40] = 1
            return Output(logits, 2_000_000)

    result = run_paper(make_profile({"kind": "prompt", "generated_tokens": 4, "first_tokens": 0}), Moody())
    assert "generated another answer" in result.verdict.invalid
    assert result.verdict.exit_code == 4


def test_a_sentence_at_a_rate_says_how_busy_the_device_is(parts, run_paper, make_profile):
    workload = {"kind": "sentence", "sentences_per_hour": 3600.0, "tokens_per_sentence": 2}
    result = run_paper(make_profile(workload))
    share = result.quantities["duty.busy_share"]
    assert share.value == pytest.approx(result.quantities["generation.total.mean"].value / 1000.0)
    assert 0.017 < share.value < 0.03  # nine steps of 2 ms in every second
    assert result.quantities["duty.power"].reason and result.quantities["generation.total.p50"].n == 3


def test_single_tokens_have_neither_answers_nor_a_duty_cycle(parts, run_paper, make_profile):
    result = run_paper(make_profile())
    assert result.generation is None
    assert not [name for name in result.quantities if name.startswith(("generation.", "duty."))]


def test_a_duty_cycle_pays_for_runs_and_for_the_idle_rest():
    # 20 mJ a run, twice a second, 0.1 s each: 40 mW; idle for 80 % of the time at 5 mW: 4 mW
    assert mean_power_mw(20_000.0, 5.0, 2.0, 0.1) == pytest.approx(44.0)
    assert mean_power_mw(20_000.0, 5.0, 0.0, 0.1) == pytest.approx(5.0)
    # always busy: the power of the run itself
    assert mean_power_mw(20_000.0, 5.0, 10.0, 0.1) == pytest.approx(200.0)
    draws = mean_power_mw(np.array([20_000.0, 10_000.0]), np.array([5.0, 5.0]), 2.0, 0.1)
    assert draws == pytest.approx([44.0, 24.0])


def test_battery_life_is_nominal_energy_over_power():
    assert battery_life_hours(44.0, 3.7, 150.0) == pytest.approx(3.7 * 150 / 44)


POWER = RunPower(20_000.0, 5.0, Kind.SIMULATED, "a meter of the tests")
CELL = Cell(voltage_v=3.7, capacity_mah=150.0)


def _sentences(make_profile, per_hour):
    return make_profile({"kind": "sentence", "sentences_per_hour": per_hour}).workload


def test_power_and_battery_life_keep_the_kind_of_the_meter(measured, make_profile):
    generation = measured()
    found = duty_quantities(generation, _sentences(make_profile, 3600.0), CELL, POWER)
    seconds = generation.total.mean_ms / 1000.0
    assert found["duty.power"].value == pytest.approx(20.0 + 5.0 * (1 - busy_share(1.0, seconds)))
    assert found["duty.power"].kind is found["duty.battery_life"].kind is Kind.SIMULATED
    assert found["duty.battery_life"].value == pytest.approx(555.0 / found["duty.power"].value)
    without = duty_quantities(generation, _sentences(make_profile, 3600.0), None, POWER)
    assert "no cell" in without["duty.battery_life"].reason


def test_a_rate_that_the_device_cannot_keep_has_no_power(measured, make_profile):
    slow = measured(generated_tokens=2000, windows=1, min_window_seconds=0.0)  # four seconds a sentence
    found = duty_quantities(slow, _sentences(make_profile, 3600.0), CELL, POWER)
    assert found["duty.busy_share"].value > 1
    assert found["duty.power"].value is None and "cannot keep the rate" in found["duty.power"].reason


OVERRIDES = """
[workload]
windows = 3
[budgets]
latency_ms_p95 = { limit = 50.0, required = true }
size_mb = { limit = 10.0, required = true }
[target.slow.workload]
windows = 2
[target.slow.budgets]
latency_ms_p95 = { limit = 500.0 }
"""


def _load(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text('schema = "edgesnn.profile/1"\nname = "mine"\n' + text)
    return load_profile(str(path))


@pytest.mark.parametrize("target", ["slow", "slow:/dev/ttyACM0"])
def test_a_target_s_settings_lie_over_the_profile_s_and_leave_the_rest(tmp_path, target):
    chosen = for_target(_load(tmp_path, OVERRIDES), target)
    assert chosen.workload.windows == 2
    assert (chosen.budgets.latency_ms_p95.limit, chosen.budgets.latency_ms_p95.required) == (500.0, False)
    assert chosen.budgets.size_mb.required
    assert chosen.target == {}


def test_another_target_keeps_the_profile_s_settings(tmp_path):
    chosen = for_target(_load(tmp_path, OVERRIDES), "fast")
    assert chosen.workload.windows == 3 and chosen.budgets.latency_ms_p95.limit == 50.0


def test_settings_for_a_target_that_nobody_knows_are_named(tmp_path):
    profile = _load(tmp_path, OVERRIDES)
    assert unknown_overrides(profile, ["slow"]) == []
    assert "'slow'" in unknown_overrides(profile, ["fast"])[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[workload]\nkind = "sentence"\n', "sentences_per_hour"),
        ('[target.slow.workload]\nkind = "sentence"\n', "target.slow.workload"),
        ('[workload]\nkind = "novel"\n', "kind"),
        ("[target.slow.workload]\nwindow = 3\n", "line 4: target.slow.workload.window is no key.*windows"),
        ("[target.slow]\nlimits = 3\n", "limits"),
        ("[cell]\nvoltage_v = 3.7\n", "capacity_mah is missing"),
        ("[cell]\nvoltage_v = 0\ncapacity_mah = 1.0\n", "voltage_v"),
        ("[workload]\nidle_seconds = 0.0\n", "idle_seconds"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        _load(tmp_path, text)


def test_the_rules_of_mlperf_tiny_are_five_windows_of_ten_seconds():
    workload = load_profile("mlperf-tiny").workload
    assert (workload.windows, workload.min_window_seconds, workload.metered_window_seconds) == (5, 10.0, 10.0)
