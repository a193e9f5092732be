from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the `train` extra")

from edgesnn.cli.train.command import train  # noqa: E402
from edgesnn.student.training import trainer  # noqa: E402

pytestmark = pytest.mark.torch

TINY = [
    "--teacher-model",
    "none",
    "--dim",
    "16",
    "--depth",
    "1",
    "--rank",
    "8",
    "--vocab-size",
    "300",
    "--max-length",
    "16",
    "--threads",
    "1",
    "--num-steps",
    "2",
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command("train")(train)
    return lambda *args: CliRunner().invoke(app, list(args))


def test_a_short_training_prints_one_document_and_plain_progress_lines(run, tmp_path):
    result = run(*TINY, "--log-interval", "1", "--output-dir", "out", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["schema"] == "edgesnn.train/1"
    assert document["directory"] == "out"
    assert document["architecture"]["mlp_dim"] == 32
    assert document["architecture"]["shift_channels"] == 8
    assert "step 2/2  loss" in result.stderr and "tokens/s" in result.stderr
    assert (tmp_path / "out" / "student.safetensors").is_file()


def test_defaults_are_the_guides(run, monkeypatch):
    seen = []
    monkeypatch.setattr(trainer, "train_student", lambda config, *_, **__: seen.append(config) or 1 / 0)
    monkeypatch.setattr("edgesnn.student.train_student", trainer.train_student, raising=False)
    run("--teacher-model", "gpt2", "--json")
    run("--preset", "reference", "--lr", "0.001", "--dim", "64", "--snn-timesteps", "2", "--json")
    plain, preset = seen
    assert (plain.output_dir, plain.dataset, plain.max_length) == ("artifacts/snn_student", "synthetic", 64)
    assert (plain.lr, plain.scheduler, plain.warmup_steps, plain.log_interval) == (1e-4, "constant", 0, 5)
    assert plain.snn.num_timesteps == 4 and plain.snn.surrogate_type == "sigmoid"
    assert plain.snn.spike_threshold == 1.0 and plain.git_tracking
    assert plain.architecture_options["windows"] == [8, 32, 128, 256]
    assert (preset.lr, preset.scheduler, preset.max_length) == (1e-3, "cosine", 256)
    assert preset.snn.surrogate_type == "fast_sigmoid" and preset.snn.num_timesteps == 2
    assert preset.architecture_options["dim"] == 64
    assert preset.architecture_options["mlp_dim"] == 128
    assert preset.architecture_options["shift_channels"] == 32
    assert preset.architecture_options["windows"] == [8, 16, 64, 128]


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--lr", "-1"], 2, "--lr"),
        (["--snn-surrogate", "step"], 2, "--snn-surrogate"),
        (["--snn-timesteps", "0"], 2, "--snn-timesteps"),
        (["--warmup-steps", "99"], 2, "warmup_steps"),
        (["--windows", "8,x"], 2, "--windows"),
        (["--windows", "8"], 2, "one per head"),
        (["--shift-fraction", "2"], 2, "--shift-fraction"),
        (["--preset", "huge"], 2, "unknown preset"),
        (["--dataset", "wikitext-3"], 2, "--dataset-path"),
        (["--dataset-path", "none.txt"], 1, "missing file"),
    ],
)
def test_a_wrong_flag_is_one_clear_error(run, flags, code, message):
    result = run(*TINY, *flags, "--json")
    assert result.exit_code == code
    assert message in json.dumps(json.loads(result.stdout)["error"])


def test_ctrl_c_exits_with_130(run, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgesnn.student.train_student", interrupt, raising=False)
    assert run(*TINY).exit_code == 130


GUIDE = {
    "--dataset": "synthetic",
    "--dataset-path": None,
    "--output-dir": "artifacts/snn_student",
    "--num-steps": 50,
    "--batch-size": 4,
    "--grad-accum-steps": 1,
    "--max-length": 64,
    "--lr": 1e-4,
    "--temperature": 1.0,
    "--scheduler": "constant",
    "--warmup-steps": 0,
    "--snn-timesteps": 4,
    "--snn-surrogate": "sigmoid",
    "--snn-threshold": 1.0,
    "--log-interval": 5,
    "--no-git-tracking": False,
    "--export-onnx": False,
}


def test_every_flag_of_the_guide_is_there_with_its_default():
    app = typer.Typer()
    app.command("train")(train)
    parameters = {name: p for p in typer.main.get_command(app).params for name in p.opts}
    assert {flag: parameters[flag].default for flag in GUIDE} == GUIDE


def test_a_teacher_must_be_named_or_declined(run):
    result = run("--num-steps", "1", "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert "--teacher-model is missing" in error["what"] and "--teacher-model none" in error["remedy"]


def test_a_training_ends_with_the_formats_that_were_asked_for(run, tmp_path):
    result = run(*TINY, "--export-format", "torchscript,onnx", "--output-dir", "out", "--json")
    assert result.exit_code == 0, result.stderr
    names = {"torchscript": "student.torchscript.pt", "onnx": "student.onnx"}
    assert json.loads(result.stdout)["exported"] == names
    for name in names.values():
        beside = (tmp_path / "out" / name).read_bytes()
        assert beside == (tmp_path / "out" / "bundle" / name).read_bytes()
    logits = torch.jit.load(str(tmp_path / "out" / "student.torchscript.pt"))(torch.tensor([[1, 2, 3]]))
    assert logits.shape == (1, 3, 300)


def test_a_format_that_cannot_be_written_is_refused_before_anything_is_trained(run, tmp_path):
    result = run(*TINY, "--export-format", "onnx,torchscrpt", "--output-dir", "out", "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert "torchscrpt" in error["what"] and "torchscript" in error["remedy"]
    assert not (tmp_path / "out").exists()
