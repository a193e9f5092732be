"""The TorchScript file: golden's bits out of ``torch.jit.load`` alone."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn import errors  # noqa: E402
from edgesnn.api.background.torchscript import FILE, TorchScriptExporter  # noqa: E402
from edgesnn.api.students import usual_formats  # noqa: E402
from edgesnn.exporters.base import ExportSource  # noqa: E402
from edgesnn.program.golden import Golden  # noqa: E402
from edgesnn.program.ops import Shift  # noqa: E402
from edgesnn.program.program import Program  # noqa: E402
from edgesnn.student.torchscript import INFORMATION, script_program  # noqa: E402
from tests.support.bundles import shared_bundle  # noqa: E402
from tests.support.random_program import RandomShape, random_program  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")]

#: Every op, every window (one of them 1, one longer than the text), T of 1, no shift, both saturations.
SHAPES = [
    RandomShape(),
    RandomShape(saturate=True, windows=(1, 66), decay=256, timesteps=5),
    RandomShape(timesteps=1, shifted=0, windows=(7,), depth=1, decay=1),
    RandomShape(clip=False, shifted=32, windows=(2, 130), rank=9),
]
#: Runs the file where nothing of edgesnn can be imported, and gives the logits' bytes.
ALONE = """
import sys, warnings
sys.modules["edgesnn"] = None
warnings.simplefilter("ignore")
import torch
model = torch.jit.load(sys.argv[1])
ids = torch.tensor([[1, 2, 3, 4, 5], [9, 8, 7, 6, 5]])
sys.stdout.buffer.write(model(input_ids=ids).numpy().tobytes())
"""


def golden(program, ids):
    return Golden(program).sequence(ids) * np.float32(program.logit_scale)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_op_gives_golden_s_bits(shape):
    program = random_program(shape, 5)
    module = script_program(program.timesteps, program.ops)
    rng = np.random.default_rng(0)
    for batch, length in ((1, 1), (2, 37)):  # one module, every shape
        ids = rng.integers(0, shape.vocab, (batch, length))
        made = module(torch.from_numpy(ids)).numpy()
        assert made.dtype == np.float32 and np.array_equal(made, golden(program, ids))


def test_shifted_channels_need_not_be_neighbours():
    program = random_program(RandomShape(), 1)
    channels = np.array([0, 3, 4, 31], np.int32)
    ops = tuple(replace(op, channels=channels) if isinstance(op, Shift) else op for op in program.ops)
    scattered = Program(program.timesteps, ops)
    ids = np.arange(24).reshape(2, 12)
    made = script_program(scattered.timesteps, ops)(torch.from_numpy(ids)).numpy()
    assert np.array_equal(made, golden(scattered, ids))
    assert not np.array_equal(made, golden(program, ids))


def test_an_op_that_nobody_knows_is_refused_by_name():
    program = random_program(RandomShape(), 1)

    class Convolve:
        pass

    with pytest.raises(errors.ExportError, match="Convolve"):
        script_program(program.timesteps, [*program.ops, Convolve()])


def test_the_file_alone_runs_where_nothing_of_ours_is_installed(tmp_path):
    program = random_program(RandomShape(), 2)
    source = ExportSource(program, None, "mine", "ab" * 32)
    result = TorchScriptExporter().export(source, tmp_path)
    assert result.files == {"sequence": FILE} and [path.name for path in tmp_path.iterdir()] == [FILE]
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(tmp_path / FILE)], capture_output=True, check=True
    )
    want = golden(program, np.array([[1, 2, 3, 4, 5], [9, 8, 7, 6, 5]]))
    assert np.array_equal(np.frombuffer(done.stdout, np.float32).reshape(want.shape), want)
    facts = {INFORMATION: ""}
    torch.jit.load(str(tmp_path / FILE), _extra_files=facts)
    assert json.loads(facts[INFORMATION])["program_hash"] == "ab" * 32


@pytest.mark.parametrize("token", [257, -1])
def test_a_token_outside_the_vocabulary_is_no_silent_answer(token):
    program = random_program(RandomShape(), 2)
    module = script_program(program.timesteps, program.ops)
    with pytest.raises((IndexError, RuntimeError)):
        module(torch.tensor([[token]]))


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    source = ExportSource(random_program(RandomShape(), 2), None, "mine", "ab" * 32)
    with pytest.raises(errors.OutputError, match="cannot write"):
        TorchScriptExporter().export(source, tmp_path / "nowhere")


def test_it_is_written_only_where_it_is_named():
    assert "torchscript" not in usual_formats() and "onnx" in usual_formats()
    assert "torchscript" not in json.loads(Path(shared_bundle(), "manifest.json").read_text())["exports"]
