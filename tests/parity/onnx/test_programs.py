"""Whole integer programs in ONNX: the same bits as golden in all three forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgesnn.program.golden import Golden
from edgesnn.program.ops import Shift
from edgesnn.program.program import Program
from edgesnn.program.state import State
from tests.support.random_program import RandomShape, random_program

Models = Callable[[Program], dict[str, Any]]
OpenEngine = Callable[[Any, str], Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]]
OpenForms = Callable[[Program], dict[str, Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]]]


@pytest.fixture(params=["ort-disable-all", "ort-enable-all"])
def open_forms(request: pytest.FixtureRequest, models: Models, open_engine: OpenEngine) -> OpenForms:
    """The three forms of a program in onnxruntime."""
    return lambda program: {
        role: open_engine(model, request.param) for role, model in models(program).items()
    }


@st.composite
def programs(draw: st.DrawFn) -> Program:
    heads = draw(st.integers(1, 4))
    dim = heads * draw(st.sampled_from([3, 8]))
    shape = RandomShape(
        vocab=draw(st.integers(2, 70)),
        dim=dim,
        depth=draw(st.integers(1, 2)),
        windows=tuple(draw(st.lists(st.sampled_from([1, 2, 3, 7, 66, 130]), min_size=heads, max_size=heads))),
        mlp=draw(st.integers(1, 20)),
        rank=draw(st.integers(1, 9)),
        timesteps=draw(st.integers(1, 5)),
        decay=draw(st.sampled_from([1, 100, 128, 230, 256])),
        shifted=draw(st.integers(0, dim)),
        saturate=draw(st.booleans()),
        clip=draw(st.booleans()),
    )
    program = random_program(shape, draw(st.integers(0, 99)))
    if draw(st.booleans()):
        program = scatter_shifts(program, draw(st.integers(0, 99)))
    return program


def scatter_shifts(program: Program, seed: int) -> Program:
    """The same program with shifted channels that are not neighbours."""
    rng = np.random.default_rng(seed)
    width = program.channels()

    def scatter(op: Any) -> Any:
        if not isinstance(op, Shift):
            return op
        channels = np.sort(rng.choice(width[op.input], len(op.channels), replace=False))
        return replace(op, channels=channels.astype(np.int32))

    return Program(program.timesteps, tuple(scatter(op) for op in program.ops))


def check_all_forms(program: Program, open_forms: OpenForms, *, batch: int, length: int, steps: int) -> None:
    golden, run = Golden(program), open_forms(program)
    unscale = 2.0**program.readout.exponent
    rng = np.random.default_rng(length)
    ids = rng.integers(0, program.vocab_size, (batch, length))
    expected, state = golden.prefill(ids)
    sequence = run["sequence"]({"input_ids": ids})["logits"]
    assert sequence.dtype == np.float32
    np.testing.assert_array_equal(sequence * unscale, expected)
    prefilled = run["prefill"]({"input_ids": ids})
    np.testing.assert_array_equal(prefilled["logits"] * unscale, expected[:, -1])
    assert set(prefilled) == {"logits", *(f"state.{name}" for name in state.tensors)}
    for name, tensor in state.tensors.items():
        np.testing.assert_array_equal(prefilled[f"state.{name}"], tensor, err_msg=name)
    own = State(program, batch)
    own.load({name: prefilled[f"state.{name}"] for name in state.tensors})
    for fresh in (False, True):
        if fresh:
            own, state = State(program, batch), State(program, batch)
        for _ in range(steps):
            tokens = rng.integers(0, program.vocab_size, batch)
            wanted = golden.step(tokens, state)
            result = run["step"]({"input_ids": tokens[:, None], **own.tensors})
            np.testing.assert_array_equal(result.pop("logits") * unscale, wanted)
            own.push({name.removeprefix("new."): new for name, new in result.items()})


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(program=programs(), batch=st.integers(1, 3), length=st.sampled_from([1, 2, 5, 63, 64, 65, 140]))
def test_a_random_program_gives_the_bits_of_golden_in_all_three_forms(
    open_forms: OpenForms, program: Program, batch: int, length: int
) -> None:
    check_all_forms(program, open_forms, batch=batch, length=length, steps=9)


@pytest.mark.parametrize("length", [3, 8, 9, 30])
def test_step_continues_a_prompt_shorter_and_longer_than_the_rings(
    length: int, open_forms: OpenForms
) -> None:
    check_all_forms(random_program(RandomShape()), open_forms, batch=2, length=length, steps=25)


@pytest.mark.parametrize("length", [64, 128, 200, 321])
def test_a_band_of_several_blocks_is_exact(length: int, open_forms: OpenForms) -> None:
    program = random_program(RandomShape(depth=1, windows=(1, 64, 65, 200)))
    check_all_forms(program, open_forms, batch=1, length=length, steps=3)


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 5), (1, 70), (2, 64)])
def test_the_sequence_runs_in_the_onnx_reference_with_both_dimensions_dynamic(
    batch: int, length: int, models: Models, open_engine: OpenEngine
) -> None:
    program = scatter_shifts(random_program(RandomShape(depth=1, windows=(1, 3, 66, 9))), 1)
    run = open_engine(models(program)["sequence"], "onnx-reference")
    ids = np.random.default_rng(0).integers(0, program.vocab_size, (batch, length))
    got = run({"input_ids": ids})["logits"] * 2.0**program.readout.exponent
    np.testing.assert_array_equal(got, Golden(program).sequence(ids))


def test_tokens_on_the_right_change_nothing_on_the_left(models: Models, open_engine: OpenEngine) -> None:
    program = random_program(RandomShape())
    run = open_engine(models(program)["sequence"], "ort-enable-all")
    ids = np.random.default_rng(0).integers(0, program.vocab_size, (1, 20))
    padded = np.concatenate([ids, np.zeros((1, 60), np.int64)], axis=1)
    np.testing.assert_array_equal(
        run({"input_ids": padded})["logits"][:, :20], run({"input_ids": ids})["logits"]
    )
