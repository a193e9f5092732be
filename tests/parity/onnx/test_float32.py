"""The float32 baseline against numpy: equal but where rounding flips a spike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgesnn.exporters.onnx.files import build
from edgesnn.exporters.onnx.float32 import FILES, float_numbers
from edgesnn.program.float_program import FloatProgram, float_logits
from edgesnn.program.program import Program
from edgesnn.program.state import State
from tests.support.random_program import RandomShape, random_program

SHAPES = [
    RandomShape(depth=1),
    RandomShape(depth=1, timesteps=1, windows=(1, 1), shifted=0),
    RandomShape(depth=2, timesteps=3, windows=(2, 66), decay=256),
]


@pytest.fixture(params=SHAPES, ids=["default", "one timestep, no past", "two blocks"])
def case(
    request: pytest.FixtureRequest, to_float: Callable[[Program], FloatProgram], open_engine: Any
) -> Any:
    program = random_program(request.param, seed=3)
    student = to_float(program)
    run = {role: open_engine(build(student, role, float_numbers, {})[0], "ort-enable-all") for role in FILES}
    return program, student, run


def share_of_equal_rows(got: np.ndarray, expected: np.ndarray) -> float:
    tolerance = 1e-4 * np.abs(expected).max()
    return float((np.abs(got - expected).max(axis=-1) < tolerance).mean())


@pytest.mark.parametrize("length", [1, 20, 100])
def test_the_sequence_equals_numpy_on_most_positions(case: Any, length: int) -> None:
    program, student, run = case
    ids = np.random.default_rng(0).integers(0, program.vocab_size, (2, length))
    got = run["sequence"]({"input_ids": ids})["logits"]
    assert share_of_equal_rows(got, float_logits(student, ids)) > 0.9


def test_prefill_then_step_equals_the_sequence_on_most_positions(case: Any) -> None:
    program, _, run = case
    ids = np.random.default_rng(1).integers(0, program.vocab_size, (2, 40))
    whole = run["sequence"]({"input_ids": ids})["logits"]
    prefilled = run["prefill"]({"input_ids": ids[:, :12]})
    rows = [prefilled.pop("logits")]
    state = State(program, 2, np.float32)
    state.load({name.removeprefix("state."): tensor for name, tensor in prefilled.items()})
    for position in range(12, 40):
        result = run["step"]({"input_ids": ids[:, position : position + 1], **state.tensors})
        rows.append(result.pop("logits"))
        state.push({name.removeprefix("new."): new for name, new in result.items()})
    assert share_of_equal_rows(np.stack(rows, axis=1), whole[:, 11:]) > 0.9
