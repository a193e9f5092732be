"""Which runner a target means for a bundle: the fastest whose files are in it."""

import pytest

from edgesnn import generate_text, open_bundle, parity_targets, plugins
from edgesnn.api.runners import export_of, runner_misses, runner_of
from edgesnn.runners.golden import GoldenRunner
from edgesnn.runners.native import build as native_build
from edgesnn.runners.onnxruntime.runner import OnnxRuntimeRunner
from edgesnn.text.sampling import SamplingOptions
from tests.support.artifacts import write_artifact
from tests.support.bundles import shared_bundle


@pytest.fixture(scope="module")
def bundle():
    return open_bundle(shared_bundle())


@pytest.fixture
def no_compiler(monkeypatch):
    monkeypatch.setattr(native_build, "missing_host_compiler", lambda names: "no C compiler")


def test_a_runner_names_the_format_that_it_reads():
    assert export_of(GoldenRunner) is None
    assert export_of(OnnxRuntimeRunner) == "onnx"


def test_the_cpu_takes_the_native_engine_where_it_can_be_built(bundle):
    want = "native" if native_build.missing() is None else "onnxruntime"
    assert runner_of("cpu", bundle).name == want


def test_a_runner_whose_files_the_bundle_lacks_is_passed_over(bundle, no_compiler):
    assert not bundle.has_export("tflite")
    assert runner_of("cpu", bundle).name == "onnxruntime"
    assert runner_of("onnxruntime", bundle).name == "onnxruntime"


def test_where_nothing_fits_the_first_runner_is_given_and_says_so(bundle):
    if "litert" in plugins.names(plugins.RUNNERS) and plugins.load_runner("litert").missing() is None:
        assert runner_of("litert", bundle).name == "litert"
        assert "--format tflite" in runner_misses(plugins.load_runner("litert"), bundle)


def test_verify_skips_a_runner_whose_files_are_missing_and_says_why(bundle):
    reasons = parity_targets(bundle)
    assert (reasons["golden"], reasons["onnxruntime"]) == (None, None)
    assert reasons["litert"]


def test_a_student_talks_on_any_target_without_a_bundle(tmp_path):
    student = write_artifact(tmp_path / "tiny")
    texts = {
        target: "".join(
            p.text for p in generate_text(student, "Hi", SamplingOptions(), target=target, max_tokens=4)
        )
        for target in ("golden", "native", "onnxruntime")
    }
    assert len(set(texts.values())) == 1
