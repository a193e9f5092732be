"""``SNNHardwareProfiler``: the documented keys hold real numbers, and nothing is measured that was not."""

import pytest

import edgesnn
from edgesnn.api.hardware import SNNHardwareProfiler
from edgesnn.errors import BundleError, TextError, UsageError
from tests.support.artifacts import write_artifact
from tests.support.bundles import shared_bundle

FEW = """
schema = "edgesnn.profile/1"
name = "few"
[workload]
windows = 2
min_window_seconds = 0.0
min_window_tokens = 100
warmup_tokens = 2
accuracy_tokens = 200
"""


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    path = tmp_path_factory.mktemp("profile") / "few.toml"
    path.write_text(FEW)
    return str(path)


@pytest.fixture(scope="module")
def profiler(few):
    with SNNHardwareProfiler(shared_bundle(), target="onnxruntime", profile=few) as found:
        yield found


def test_it_stands_where_the_documentation_imports_it_from():
    assert edgesnn.SNNHardwareProfiler is SNNHardwareProfiler


def test_latency_has_the_documented_keys_and_says_where_it_was_taken(profiler):
    found = profiler.profile_latency()
    assert 0 < found["min_ms"] <= found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"] <= found["max_ms"]
    assert found["min_ms"] <= found["mean_ms"] <= found["max_ms"]
    assert (found["n"], found["kind"], found["target"]) == (200, "MEASURED", "onnxruntime")
    assert found["tokens_per_second"] == pytest.approx(1000 / found["mean_ms"])


def test_power_without_a_meter_is_an_error_that_says_what_to_attach(profiler):
    with pytest.raises(UsageError) as met:
        profiler.profile_power()
    assert "ppk2" in met.value.remedy and "estimate=True" in met.value.remedy
    with pytest.raises(UsageError, match="measured or estimated"):
        profiler.profile_power("ppk2:X", estimate=True)


def test_estimated_power_is_energy_times_the_measured_rate_and_says_estimated(profiler):
    found = profiler.profile_power(estimate=True)
    assert found["kind"] == "ESTIMATED" and found["how"].startswith("ESTIMATED")
    assert found["mean_mw"] == pytest.approx(found["energy_per_token_uj"] * found["tokens_per_second"] / 1000)
    assert found["peak_mw"] >= found["mean_mw"] > 0


def test_accuracy_of_the_bundle_s_text_is_the_share_of_next_tokens(profiler):
    found = profiler.profile_accuracy()
    assert 0 <= found["accuracy"] <= 1 and found["tokens"] > 100
    low, high = found["accuracy_interval"]
    assert low <= found["accuracy"] <= high


def test_accuracy_of_texts_that_are_given_counts_their_tokens(profiler):
    one = profiler.profile_accuracy(["hello world"])
    both = profiler.profile_accuracy(["hello world", {"prompt": "hello", "response": "world"}])
    assert both["documents"] == 2 and both["tokens"] > one["tokens"] > 1
    assert one["accuracy_interval"] is None and one["retention"] is None
    assert one["perplexity"] == one["own_perplexity"] > 1
    assert one["perplexity_per"] == "token of the student"


def test_a_file_that_is_not_there_is_no_text(profiler):
    with pytest.raises(TextError) as met:
        profiler.profile_accuracy(test_data="nowhere.jsonl")
    assert "nowhere.jsonl" in met.value.what and "list" in met.value.remedy


@pytest.mark.parametrize("data", [[], ["x"], [3], "hello world", [{"prompt": "a"}]])
def test_what_is_no_text_is_refused(profiler, data):
    with pytest.raises(TextError):
        profiler.profile_accuracy(data)


def test_a_student_artifact_and_its_weights_file_are_taken_too(few, tmp_path):
    artifact = write_artifact(tmp_path / "tiny")
    for path in (artifact, artifact / "student.pt"):
        with SNNHardwareProfiler(str(path), target="golden", profile=few) as found:
            assert found.model_path == path
            assert found.profile_accuracy(["hello world"])["tokens"] > 1


def test_a_path_without_a_student_is_refused(tmp_path):
    with pytest.raises(BundleError):
        SNNHardwareProfiler(tmp_path / "nothing" / "student.pt")
