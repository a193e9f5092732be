from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

SMALL = {"dim": 32, "depth": 1, "num_heads": 4, "mlp_dim": 64, "rank": 16, "windows": (2, 4, 8, 16)}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_model() -> Callable[..., Any]:
    from edgesnn.student.config import SnnConfig
    from edgesnn.student.model import registry

    def make(
        vocab_size: int = 64, log_unigram: Any = None, snn: dict[str, Any] | None = None, **options: Any
    ):
        torch.manual_seed(0)
        return registry.build(
            "spiking_transformer", {**SMALL, **options}, SnnConfig(**(snn or {})), vocab_size, log_unigram
        )

    return make


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., Any]:
    from edgesnn.student import TrainConfig

    def make(**changes: Any) -> TrainConfig:
        base: dict[str, Any] = {
            "output_dir": str(tmp_path / "student"),
            "vocab_size": 400,
            "max_length": 32,
            "num_steps": 8,
            "log_interval": 1,
            "lr": 3e-3,
            "eval_tokens": 300,
            "architecture_options": dict(SMALL),
            "git_tracking": False,
        }
        return TrainConfig.model_validate({**base, **changes})

    return make
