import pytest

from edgesnn.errors import ConfigError, UsageError
from edgesnn.profiler.budgets.profile import Budgets, load_profile, override

SHIPPED = ("smartglass", "quick", "ci-no-meter", "mlperf-tiny")


def _gates(profile):
    return {name: one["limit"] for name, one in profile.budgets.model_dump().items() if one["required"]}


def test_smartglass_requires_the_limits_of_the_contract():
    assert _gates(load_profile("smartglass")) == {
        "latency_ms_p95": 50.0,
        "power_mw": 100.0,
        "size_mb": 10.0,
        "retention": 0.85,
        "parity_mismatches": 0.0,
    }


def test_quick_gates_nothing_but_parity():
    assert _gates(load_profile("quick")) == {"parity_mismatches": 0.0}


def test_ci_without_a_meter_gates_counts_size_parity_and_accuracy():
    assert set(_gates(load_profile("ci-no-meter"))) == {
        "size_mb",
        "parity_mismatches",
        "retention",
        "synaptic_operations",
        "spike_rate",
    }


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_bears_its_file_s_name(name):
    assert load_profile(name).name == name


def _write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text('schema = "edgesnn.profile/1"\nname = "mine"\n' + text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[workload]\nwindow = 3\n", "windows"),
        ("[budgets]\nlatency_p95 = { limit = 5.0 }\n", "latency_ms_p95"),
        ("[budgets]\nsize_mb = { limits = 5.0 }\n", "limit"),
        ("[budgets]\nsize_mb = { required = true }\n", "needs a limit"),
        ("[workload]\nwindows = 0\n", "windows"),
        ('[workload]\nwindows = "many"\n', "windows"),
        ("[budgets]\nsize_mb = { limit = nan }\n", "limit"),
        ("colour = 3\n", "colour"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        load_profile(_write(tmp_path, text))


def test_a_profile_of_another_version_is_refused(tmp_path):
    path = tmp_path / "old.toml"
    path.write_text('schema = "edgesnn.profile/9"\nname = "old"\n')
    with pytest.raises(ConfigError):
        load_profile(str(path))


def test_flags_lie_over_the_file():
    changed = override(load_profile("quick"), windows=7, min_window_seconds=None)
    assert changed.workload.windows == 7
    assert changed.workload.min_window_seconds == load_profile("quick").workload.min_window_seconds
    with pytest.raises(UsageError, match="windows"):
        override(changed, windows=0, min_window_seconds=None)


def test_a_budget_that_is_left_out_has_no_limit():
    assert all(not one["required"] for one in Budgets().model_dump().values())
