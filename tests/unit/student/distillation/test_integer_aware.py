"""The integer forward pass of training against the compiler and its golden interpreter."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.errors import CompileError  # noqa: E402
from edgesnn.program.artifact import read_artifact  # noqa: E402
from edgesnn.program.compile import CalibrationText, compile_program  # noqa: E402
from edgesnn.program.fold import fold  # noqa: E402
from edgesnn.program.golden import Golden  # noqa: E402
from edgesnn.program.ops import LIF, Add, Embed, Linear, Saturate  # noqa: E402
from edgesnn.program.quantise import multiply_shift, quantise_columns  # noqa: E402
from edgesnn.program.stock import on_stock_grid  # noqa: E402
from edgesnn.student import TrainConfig, load_student, train_student  # noqa: E402
from edgesnn.student.kernels import rounding  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module", params=["short windows", "saturating", "int8"])
def artifact(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("student")
    options = {"dim": 32, "depth": 2, "num_heads": 4, "mlp_dim": 64, "rank": 16, "windows": (2, 4, 8, 16)}
    config = TrainConfig.model_validate(
        {
            "output_dir": str(directory),
            "vocab_size": 400,
            "max_length": 32,
            "num_steps": 30,
            "batch_size": 8,
            "lr": 3e-3,
            "eval_tokens": 300,
            "architecture_options": options,
            "snn": {"surrogate_type": "fast_sigmoid"},
            "fp16": True,
            "int8": request.param == "int8",
            "git_tracking": False,
            "threads": 1,
            "spike_rate": 0.1,
        }
    )
    trained = train_student(config)
    if request.param == "saturating":
        _scale_embedding(directory)
    return directory, trained.metadata["training_results"], request.param


def _scale_embedding(directory):
    """The largest embedding that compiles: with the other writers no proof bounds the residual stream."""
    import safetensors.torch

    path = directory / "student.safetensors"
    state = safetensors.torch.load(path.read_bytes())
    learnt = state["embed.project.weight"].float()
    for factor in range(150, 30, -1):
        state["embed.project.weight"] = learnt * factor
        path.write_bytes(safetensors.torch.save(state))
        with suppress(CompileError):
            compile_program(fold(read_artifact(directory)), None)
            return


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_logits_are_goldens_bit_for_bit_on_the_compiled_artifact(artifact, dtype):
    directory, _, form = artifact
    folded = fold(read_artifact(directory))
    held = np.load(directory / "eval.npz")
    documents = [held["ids"][a:b] for a, b in zip(held["doc_starts"], held["doc_starts"][1:], strict=False)]
    compiled = compile_program(folded, CalibrationText(documents, held["doc_bytes"], "held-out"))
    program = compiled.program
    ids = np.random.default_rng(0).integers(0, program.vocab_size, (5, 45))
    wanted = Golden(program).sequence(ids) * np.float32(program.logit_scale)
    model, _ = load_student(directory)
    model.set_precision(dtype)
    # codes times scales are what they are when they are stored again
    model.set_integer_aware("int8" if form == "int8" else "float32", program.readout.exponent)
    with torch.no_grad():
        got = model(torch.from_numpy(ids))
    assert got.dtype == torch.float32
    assert np.array_equal(got.numpy(), wanted)
    assert wanted.std() > 0.1
    assert any(isinstance(op, Saturate) for op in program.ops) == (form == "saturating")
    assert {Embed, Linear, LIF, Add} <= {type(op) for op in program.ops}


def test_training_reports_what_the_integers_cost(artifact):
    results = artifact[1]
    float_bits, integer_bits = results["eval"]["bits_per_byte"], results["integer_eval"]["bits_per_byte"]
    assert integer_bits / float_bits - 1 < 0.05
    assert isinstance(results["logit_exponent"], int)


def test_every_parameter_but_the_first_frozen_ones_gets_a_gradient(artifact):
    directory, *_ = artifact
    model, _ = load_student(directory)
    model.train()
    model.freeze_statistics()
    model.set_integer_aware("float16", 8)
    logits = model(torch.randint(0, 300, (4, 24)))
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.randint(0, 300, (96,))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_straight_through_gradients_point_the_way_of_the_float_ones(tmp_path):
    from edgesnn.student.config import SnnConfig
    from edgesnn.student.model import registry

    torch.manual_seed(1)
    options = {"dim": 64, "depth": 1, "num_heads": 4, "mlp_dim": 128, "rank": 32, "windows": (2, 4, 8, 16)}
    model = registry.build("spiking_transformer", options, SnnConfig(surrogate_type="fast_sigmoid"), 300)
    model.train()
    ids, targets = torch.randint(0, 300, (8, 32)), torch.randint(0, 300, (256,))
    for _ in range(30):
        model(ids)
    model.freeze_statistics()
    gradients = []
    for integer in (False, True):
        if integer:
            model.set_integer_aware("float32", 11)
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), targets).backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name in gradients[0]:
        a, b = (g[name].flatten() for g in gradients)
        assert float(torch.cosine_similarity(a, b, dim=0)) > 0.5, name


def test_scales_and_codes_are_the_compilers():
    matrix = np.random.default_rng(0).normal(size=(17, 9)).astype(np.float32)
    matrix[:, 3] = 0
    codes, scale = quantise_columns(matrix)
    rows = torch.from_numpy(matrix.T.copy())
    assert np.array_equal(rounding.row_scales(rows).numpy(), scale)
    assert np.array_equal(rounding.row_codes(rows, rounding.row_scales(rows)).numpy().T, codes)


def test_multipliers_are_the_compilers():
    random = np.random.default_rng(1)
    for ratio in (random.random(11), random.random(11) * 1e6, random.random(11) * 1e12, np.zeros(11)):
        largest = random.integers(0, 2**20, 11)
        wanted, shift = multiply_shift(ratio, largest)
        got, mine = rounding.multiply_shift(torch.from_numpy(ratio), torch.from_numpy(largest).double())
        assert mine == shift and np.array_equal(got.numpy(), wanted)


def test_thresholds_are_the_compilers_on_and_off_the_grid_of_stock_neurons():
    random = np.random.default_rng(2)
    for size in (20.0, 2000.0):
        threshold = (random.random(40) * size + 1).astype(np.float32)
        for spread in (10.0, 1e4, 1e6):
            bias = (random.normal(size=40) * spread).astype(np.float32)
            scale = random.random(40) * 0.2 + 0.9
            theta = np.clip(np.ceil(64 * threshold.astype(np.float64) / scale) - 1, 1, 2**23 - 2)
            offset = np.clip(np.rint(64 * bias.astype(np.float64) / scale), -(2**30), 2**30)
            theta, offset = theta.astype(np.int32), offset.astype(np.int32)
            if np.median(theta) >= 64 * 64:
                theta, offset = on_stock_grid(theta, offset) or (theta, offset)
            got = rounding.thresholds(*(torch.from_numpy(a) for a in (threshold, bias, scale)))
            assert np.array_equal(got[0].numpy(), theta) and np.array_equal(got[1].numpy(), offset)
