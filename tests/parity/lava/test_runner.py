"""The runner ``lava`` in both forms: golden's bits, and the contract of every runner."""

import json
import re
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from edgesnn import verify_bundle
from edgesnn.bundle.bundle import Bundle
from edgesnn.errors import BundleError, RunnerError, TextError, UsageError
from edgesnn.program.golden import Golden
from edgesnn.program.ops import Add, Saturate
from edgesnn.program.program import Program
from edgesnn.runners.base import Capability, RunnerOptions
from edgesnn.runners.lava.runner import DEVICE, LavaRunner
from tests.conftest import ROOT
from tests.parity.lava.conftest import SHAPE, bundle_of, ids_of, needs_lava, opened, stock_program
from tests.support.bundles import shared_bundle
from tests.support.random_program import random_program

pytestmark = needs_lava


@pytest.fixture(scope="module")
def golden(program):
    return Golden(program)


def test_sequences_side_by_side_equal_golden_past_the_wrap(single, program, golden):
    ids = ids_of(program, 3, 150)
    np.testing.assert_array_equal(single.sequence(ids).logits, golden.sequence(ids))


def test_texts_one_after_another_through_one_graph_equal_golden(graph, program, golden):
    for seed, length in enumerate((1, 30, 2)):
        ids = ids_of(program, 2, length, seed=seed)
        np.testing.assert_array_equal(graph.sequence(ids).logits, golden.sequence(ids))


def _added_to_itself(program):
    """The program with its last residual stream doubled."""
    ops = list(program.ops)
    (place,) = (i for i, op in enumerate(ops) if op.name == "readout.lif")
    stream = ops[place].input
    ops[place] = replace(ops[place], input="double.y")
    ops[place:place] = [Add("double", stream, stream, "double.x"), Saturate("limit", "double.x", "double.y")]
    return Program(program.timesteps, tuple(ops))


@pytest.mark.parametrize(
    "made",
    [
        stock_program(),
        random_program(replace(SHAPE, depth=1, timesteps=1, shifted=0), 4),
        _added_to_itself(random_program(replace(SHAPE, depth=1, saturate=True, density=0.6), 7)),
    ],
    ids=["stock neurons", "T = 1 without shift", "saturated, and added to itself"],
)
def test_graphs_of_every_process_class_equal_golden(made, tmp_path):
    ids = ids_of(made, 1, 25)
    with opened(bundle_of(made, tmp_path), "graph") as runner:
        np.testing.assert_array_equal(runner.sequence(ids).logits, Golden(made).sequence(ids))
        np.testing.assert_array_equal(runner.sequence(ids).logits, Golden(made).sequence(ids))


def test_steps_and_prefill_continue_each_other(single, program, golden):
    ids = ids_of(program, 2, 40, seed=3)
    want = golden.sequence(ids)
    single.reset(2)
    for i in range(12):
        np.testing.assert_array_equal(single.step(ids[:, i]).logits, want[:, i])
    np.testing.assert_array_equal(single.prefill(ids[:, :35]).logits, want[:, 34])
    for i in range(35, 40):
        np.testing.assert_array_equal(single.step(ids[:, i]).logits, want[:, i])


def test_a_sequence_leaves_the_context_alone_and_a_reset_forgets_it(single, program):
    ids = ids_of(program, 1, 4)
    single.reset()
    first = [single.step(ids[0, i : i + 1]).logits for i in range(2)]
    single.sequence(ids_of(program, 2, 70, seed=8))
    third = single.step(ids[0, 2:3]).logits
    single.reset()
    again = [single.step(ids[0, i : i + 1]).logits for i in range(3)]
    np.testing.assert_array_equal([*first, third], again)


def test_a_window_hashes_goldens_logits_and_times_every_step(single, program, golden):
    ids = ids_of(program, 20)
    window = single.window(ids, 2, 3)
    want = golden.sequence(ids[None])[0]
    assert window.output_sha256 == sha256(want.tobytes() * 2).hexdigest()
    assert len(window.latencies_ns) == 40 and window.latencies_ns.min() > 0
    assert single.step(ids[:1]).logits.tobytes() == want[0].tobytes()  # an empty context is left


def test_what_runs_is_said_to_be_a_simulation(single, graph, bundle):
    for runner, form, processes in ((single, "single", 1), (graph, "graph", 23)):
        info = runner.info
        assert (info.device, info.simulated, info.engine) == (DEVICE, True, "lava-nc")
        assert "Python 3." in info.engine_version and info.engine_version.startswith("0.10.0")
        assert info.details["form"] == form and info.details["processes"] == processes
        assert info.model_bytes == bundle.size_of(info.model_files) > 0


def test_the_graph_says_what_it_cannot_do(graph, program):
    assert Capability.STEP in LavaRunner.capabilities and Capability.STEP not in graph.capabilities
    for call in (lambda: graph.step(np.array([0])), lambda: graph.prefill(ids_of(program, 1, 3))):
        with pytest.raises(RunnerError, match="graph form of Lava has no .*remedy: use the target lava"):
            call()


@pytest.mark.parametrize("ids", [[[101]], [[-1]], [[0.5]], [[]], [0]])
def test_unusable_token_ids_are_text_errors(single, graph, ids):
    for form in (single.sequence, single.prefill, graph.sequence):
        with pytest.raises(TextError):
            form(np.array(ids))


def test_a_step_of_another_number_of_sequences_is_a_runner_error(single):
    single.reset(2)
    with pytest.raises(RunnerError, match="another number of sequences"):
        single.step(np.array([0]))


def test_more_sequences_than_the_first_mapping_held_fit(single, program, golden):
    ids = ids_of(program, 150, 2)
    np.testing.assert_array_equal(single.sequence(ids).logits, golden.sequence(ids))


def test_a_closed_runner_says_so_and_can_be_opened_again(bundle):
    runner = LavaRunner()
    runner.close()
    for _ in range(2):
        runner.open(bundle, RunnerOptions())
        runner.step(np.array([0]))
        runner.close()
        runner.close()
        for call in (
            lambda: runner.step(np.array([0])),
            runner.reset,
            lambda: runner.sequence(np.array([[0]])),
        ):
            with pytest.raises(RunnerError, match="holds no bundle"):
                call()


def test_verify_takes_the_form_as_flag_and_as_address(bundle, edgesnn_here):
    verified = edgesnn_here("verify", bundle.path, "--target", "lava", "--tokens", "1", "--json")
    assert verified.exit_code == 0
    (single,) = verified.document["targets"]
    assert single["forms"] == {"sequence": 0, "step": 0, "prefill": 0} and single["mismatches"] == 0
    (graph,) = verify_bundle(bundle, ["lava:graph"], tokens=1)
    assert (graph.target, graph.forms) == ("lava:graph", {"sequence": 0})
    assert graph.tokens >= 50


def test_a_profile_of_lava_is_marked_as_simulated(edgesnn_here, tmp_path):
    record, short = tmp_path / "run.json", tmp_path / "short.toml"
    quick = (ROOT / "profiles" / "quick.toml").read_text("utf-8")
    for name in ("prompt", "generated", "min_window", "warmup", "first", "memory", "parity"):
        quick = re.sub(rf"^{name}_tokens = \d+", f"{name}_tokens = 4", quick, flags=re.MULTILINE)
    short.write_text(quick.replace("min_window_seconds = 0.3 ", "min_window_seconds = 0.01 "), "utf-8")
    bundle = bundle_of(random_program(replace(SHAPE, depth=1), 4), tmp_path / "small")
    arguments = ("profile", bundle.path, "--target", "lava", "--form", "graph", "--profile", short)
    finished = edgesnn_here(*arguments, "-o", record)
    assert finished.exit_code == 0, finished.stderr
    document = json.loads(record.read_text())
    assert document["device"]["simulated"] is True and document["target"] == "lava:graph"
    assert document["quantities"]["memory.peak"]["value"] is None
    assert document["comparisons"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target", "lava:ring"), "Lava has no form 'ring'"),
        (("--target", "lava:graph", "--form", "graph"), "has an address already"),
        (("--form", "graph"), "--form belongs to a target"),
    ],
)
def test_a_wrong_form_is_a_usage_error(bundle, edgesnn_here, arguments, message):
    finished = edgesnn_here("verify", bundle.path, *arguments, "--json")
    assert (finished.exit_code, finished.document["error"]["code"]) == (2, "usage")
    assert message in finished.document["error"]["what"]


def test_a_bundle_without_the_format_is_a_bundle_error():
    with pytest.raises(BundleError, match="format 'lava'"):
        LavaRunner().open(Bundle(shared_bundle()), RunnerOptions())


def test_an_unknown_form_is_refused_before_anything_starts(bundle):
    with pytest.raises(UsageError, match="no form 'chip'; limit: single, graph"):
        LavaRunner().open(bundle, RunnerOptions(address="chip"))


def copy_of(bundle, target, name, content):
    """A copy of a bundle in which one file has another content and the manifest agrees."""
    for path in bundle.path.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(bundle.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    (target / name).write_bytes(content)
    document = json.loads((target / "manifest.json").read_text())
    document["files"][name] = {"sha256": sha256(content).hexdigest(), "bytes": len(content)}
    (target / "manifest.json").write_text(json.dumps(document))
    return Bundle(target)


def test_python_of_a_bundle_is_never_executed(bundle, tmp_path):
    evil = f"open({str(tmp_path / 'was_here')!r}, 'w')\n".encode()
    changed = copy_of(bundle, tmp_path / "bundle", "lava/snn_lava/engine.py", evil)
    with pytest.raises(BundleError, match="process package of the bundle is another.*engine.py"):
        LavaRunner().open(changed, RunnerOptions())
    assert not (tmp_path / "was_here").exists()


@pytest.mark.parametrize("content", [b"no json", b"[]", b'{"program_hash": "00"}'])
def test_a_manifest_of_something_else_is_a_bundle_error(bundle, tmp_path, content):
    changed = copy_of(bundle, tmp_path / "bundle", "lava/manifest.json", content)
    with pytest.raises(BundleError, match="manifest of a Lava export|of another program"):
        LavaRunner().open(changed, RunnerOptions())


def test_weights_that_are_no_arrays_are_a_runner_error_with_nothing_left_behind(bundle, tmp_path):
    changed = copy_of(bundle, tmp_path / "bundle", "lava/weights.npz", b"PK no archive")
    with pytest.raises(RunnerError, match="Lava failed: "):
        LavaRunner().open(changed, RunnerOptions())


def test_a_file_that_changes_under_an_open_bundle_is_refused(bundle, tmp_path):
    weights = bundle.export_file("lava", "weights").read_bytes()
    changed = copy_of(bundle, tmp_path / "bundle", "lava/weights.npz", weights)
    with (changed.path / "lava" / "weights.npz").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match="changed after the bundle was opened"):
        LavaRunner().open(changed, RunnerOptions())
