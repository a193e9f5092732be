"""The runner `litert`: golden's bits in every form, and an error message for every bad file."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from edgesnn.bundle.bundle import Bundle
from edgesnn.bundle.export import BundleSource, write_bundle
from edgesnn.errors import BundleError, RunnerError, TextError
from edgesnn.exporters.tflite.exporter import TfliteExporter
from edgesnn.profiler.quality.verify import golden_cases, parity_ids, verify_runner
from edgesnn.program.bounds import prove
from edgesnn.program.compile import Compiled
from edgesnn.program.golden import Golden
from edgesnn.runners.base import RunnerOptions
from edgesnn.runners.litert import model as litert_model
from edgesnn.runners.litert.runner import LiteRtRunner
from tests.support.random_program import RandomShape, random_program

SHAPE = RandomShape(windows=(1, 3, 5, 9), density=0.3)


@pytest.fixture(scope="module")
def program():
    return random_program(SHAPE, seed=11)


@pytest.fixture(scope="module")
def folder(program, tmp_path_factory):
    """A bundle with the TFLite export alone."""
    base = tmp_path_factory.mktemp("runner")
    (base / "tokenizer.json").write_text("{}")
    compiled = Compiled(program, prove(program), (), (), {}, None)
    source = BundleSource("random", compiled, None, base / "tokenizer.json", None, {}, {})
    write_bundle(source, {"tflite": TfliteExporter()}, base / "bundle", overwrite=False)
    return base / "bundle"


@pytest.fixture
def runner(folder):
    with LiteRtRunner() as made:
        made.open(Bundle(folder), RunnerOptions())
        yield made


def test_verify_finds_no_mismatch_in_any_form(runner, program):
    cases = golden_cases(program, parity_ids(program, None, 600))
    result = verify_runner(runner, "litert", program, cases, text="random ids")
    assert result.mismatches == 0
    assert set(result.forms) == {"sequence", "step", "prefill"}


@pytest.mark.parametrize("shifted", [1, 4, 31, 32])
def test_any_number_of_shifted_channels_can_be_opened(tmp_path, shifted):
    """Parts of a value that are not equal once had no size, and no memory, before the first run."""
    program = random_program(replace(SHAPE, shifted=shifted), seed=shifted)
    (tmp_path / "tokenizer.json").write_text("{}")
    compiled = Compiled(program, prove(program), (), (), {}, None)
    source = BundleSource("random", compiled, None, tmp_path / "tokenizer.json", None, {}, {})
    bundle = write_bundle(source, {"tflite": TfliteExporter()}, tmp_path / "bundle", overwrite=False)
    ids = np.random.default_rng(shifted).integers(0, program.vocab_size, (2, 6))
    with LiteRtRunner() as made:
        made.open(bundle, RunnerOptions())
        np.testing.assert_array_equal(made.sequence(ids).logits, Golden(program).sequence(ids))


def test_sequences_beside_each_other_keep_their_own_state(runner, program):
    rng = np.random.default_rng(4)
    ids = rng.integers(0, program.vocab_size, (5, 20))
    want = Golden(program).sequence(ids)
    runner.reset(5)
    steps = [runner.step(ids[:, i]).logits for i in range(12)]
    kept = runner.save()
    runner.prefill(ids[:1, :3])
    assert np.array_equal(runner.step(ids[:1, 3]).logits, want[:1, 3])
    runner.restore(kept)
    steps += [runner.step(ids[:, i]).logits for i in range(12, 20)]
    np.testing.assert_array_equal(np.stack(steps, 1), want)


def test_lengths_and_batches_may_change_between_calls(runner, program):
    golden, rng = Golden(program), np.random.default_rng(0)
    for batch, length in ((1, 5), (3, 9), (1, 9), (2, 1), (1, 5)):
        ids = rng.integers(0, program.vocab_size, (batch, length))
        want = golden.sequence(ids)
        np.testing.assert_array_equal(runner.sequence(ids).logits, want)
        runner.reset(batch)
        got = np.stack([runner.step(ids[:, i]).logits for i in range(length)], 1)
        np.testing.assert_array_equal(got, want)
        assert got.dtype == np.int32


def test_a_saved_context_goes_on_as_if_nothing_had_been_between(runner, program):
    ids = np.random.default_rng(8).integers(0, program.vocab_size, (2, 40))
    want = Golden(program).sequence(ids)
    runner.reset(2)
    for place in range(40):
        saved = runner.save()
        np.testing.assert_array_equal(runner.step(ids[:, place]).logits, want[:, place])
        runner.prefill(ids[:1, :5])
        runner.restore(saved)
        np.testing.assert_array_equal(runner.extend(ids[:, place : place + 1]).logits, want[:, place])


def test_a_reset_forgets_and_an_output_outlives_the_next_step(runner, program):
    ids = np.random.default_rng(1).integers(0, program.vocab_size, 30)
    runner.reset()
    first = [runner.step(ids[i : i + 1]).logits for i in range(30)]
    runner.reset()
    again = [runner.step(ids[i : i + 1]).logits for i in range(30)]
    np.testing.assert_array_equal(np.stack(first), np.stack(again))
    assert len({logits.tobytes() for logits in first}) > 1


def test_two_windows_have_the_same_hash_and_two_threads_too(folder, runner, program):
    ids = np.arange(20) % program.vocab_size
    window = runner.window(ids, 2, 3)
    assert window.tokens == 40
    assert window.output_sha256 == runner.window(ids, 2, 0).output_sha256
    with LiteRtRunner() as other:
        info = other.open(Bundle(folder), RunnerOptions(threads=2))
        assert info.details["threads"] == 2
        assert other.window(ids, 2, 0).output_sha256 == window.output_sha256


def test_info_names_engine_version_and_size(folder):
    with LiteRtRunner() as made:
        info = made.open(Bundle(folder), RunnerOptions())
    assert info.engine == "litert"
    assert info.engine_version[0].isdigit()
    assert info.model_bytes == (folder / "student.step.tflite").stat().st_size
    assert not info.simulated


@pytest.mark.parametrize("ids", [[[-1]], [[10**6]], [[]], [[0.5]], [0]])
def test_ids_outside_the_vocabulary_or_of_a_wrong_kind_are_text_errors(runner, ids):
    with pytest.raises(TextError):
        runner.sequence(np.array(ids))


def test_a_step_for_another_batch_names_the_remedy(runner):
    runner.reset(2)
    with pytest.raises(RunnerError, match="reset"):
        runner.step(np.array([0]))


def test_a_closed_runner_says_so(folder):
    made = LiteRtRunner()
    made.open(Bundle(folder), RunnerOptions())
    made.close()
    made.close()
    with pytest.raises(RunnerError, match="holds no bundle"):
        made.step(np.array([0]))


def test_a_file_that_changes_under_an_open_bundle_is_refused(folder, tmp_path):
    bundle = copy_of(folder, tmp_path)
    with (bundle.path / "student.step.tflite").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match="changed"):
        LiteRtRunner().open(bundle, RunnerOptions())


def test_a_foreign_file_with_the_right_hash_is_an_error_not_a_crash(folder, tmp_path):
    good = (folder / "student.step.tflite").read_bytes()
    rng = np.random.default_rng(2)
    refused = 0
    for i in range(12):
        content = bytearray(good)
        for place in rng.integers(8, len(good), 400 if i % 2 else 40):
            content[place] = rng.integers(0, 256)
        refused += refuses(folder, tmp_path / str(i), bytes(content))
    assert refused >= 6


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"\0\0\0\0TFL3", b"\xff" * 64, b"\x10\0\0\0TFL3" + b"\xff" * 99]
)
def test_a_file_that_is_no_model_is_an_error(folder, tmp_path, content):
    assert refuses(folder, tmp_path / "bundle", content)


def test_a_model_of_another_program_is_refused_by_its_interface(folder, tmp_path, export):
    other = export(random_program(RandomShape(windows=(2, 2, 2, 2)), seed=1))
    assert refuses(folder, tmp_path / "bundle", (other / "student.step.tflite").read_bytes())
    sequence = (folder / "student.tflite").read_bytes()
    assert refuses(folder, tmp_path / "form", sequence)


def test_a_crash_in_the_child_is_reported_with_its_signal(monkeypatch, tmp_path):
    crashing = tmp_path / "crash.py"
    crashing.write_text("import os, sys\nsys.stdin.buffer.read()\nos.abort()\n")
    monkeypatch.setattr(litert_model.litert_probe, "__file__", str(crashing))
    with pytest.raises(RunnerError, match="'a.tflite' in LiteRT died with signal SIGABRT"):
        litert_model.probe_once(b"x", "no such hash", "a.tflite")


def test_a_file_is_probed_once(folder, monkeypatch):
    with LiteRtRunner() as made:
        made.open(Bundle(folder), RunnerOptions())
    monkeypatch.setattr(litert_model, "Child", lambda *_, **__: pytest.fail("probed again"))
    with LiteRtRunner() as made:
        made.open(Bundle(folder), RunnerOptions())


def copy_of(folder, target, replaced=None):
    """A copy of a bundle; the step file may have another content, with its hash in the manifest."""
    target.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    if replaced is not None:
        manifest = json.loads((target / "manifest.json").read_text())
        manifest["files"]["student.step.tflite"] = {
            "sha256": hashlib.sha256(replaced).hexdigest(),
            "bytes": len(replaced),
        }
        (target / "student.step.tflite").write_bytes(replaced)
        (target / "manifest.json").write_text(json.dumps(manifest))
    return Bundle(target)


def refuses(folder, target, content):
    """Whether opening this step file is an error of ours; anything but an error or success fails the test."""
    bundle = copy_of(folder, target, content)
    with LiteRtRunner() as made:
        try:
            made.open(bundle, RunnerOptions())
        except (BundleError, RunnerError):
            return True
    return False
