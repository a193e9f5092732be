from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")

import safetensors.torch  # noqa: E402

from edgesnn.errors import ArtifactError, OutputError  # noqa: E402
from edgesnn.program.artifact import read_artifact  # noqa: E402
from edgesnn.program.compile import compile_program  # noqa: E402
from edgesnn.program.fold import fold  # noqa: E402
from edgesnn.program.ops import Linear  # noqa: E402
from edgesnn.student import SnnConfig, TrainConfig, load_student, train_student  # noqa: E402
from edgesnn.student.artifact import files as artifact  # noqa: E402
from edgesnn.student.artifact.evaluate import EvalDocuments, evaluate  # noqa: E402
from edgesnn.student.artifact.files import read_state  # noqa: E402
from edgesnn.student.artifact.storage import stored_state  # noqa: E402
from edgesnn.text.tokenizer import load_tokenizer  # noqa: E402

from .conftest import SMALL  # noqa: E402

pytestmark = pytest.mark.torch


def train_small(directory, **settings):
    config = TrainConfig(
        output_dir=str(directory),
        vocab_size=400,
        max_length=32,
        eval_tokens=300,
        architecture_options=dict(SMALL),
        **settings,
    )
    train_student(config)
    return directory


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("artifact") / "student", num_steps=3, fp16=True)


@pytest.fixture
def copy(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_an_artifact_holds_exactly_its_files(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "student.pt",
        "student.safetensors",
        "metadata.json",
        "tokenizer.json",
        "eval.npz",
        "train_log.jsonl",
    }


def test_metadata_holds_the_guides_fields_and_no_machine_path(trained):
    text = (trained / "metadata.json").read_text()
    metadata = json.loads(text)
    assert metadata["model_type"] == "SpikingTransformerLM"
    assert metadata["architecture_version"] == "v2.0"
    assert metadata["vocab_size"] == load_tokenizer(trained / "tokenizer.json").vocab_size
    assert metadata["architecture"] == {
        "name": "spiking_transformer",
        **SMALL,
        "windows": [2, 4, 8, 16],
        "shift_channels": 16,
        "norm_eps": 1e-5,
    }
    assert metadata["snn_config"]["membrane_decay"] == 0.9
    assert metadata["snn_config"]["decay_numerator"] == 230
    assert metadata["training_config"]["num_steps"] == 3
    assert metadata["config"]["output_dir"] == "student"
    assert metadata["training_results"]["steps"] == 3
    assert set(metadata["training_results"]["spike_rates"]) >= {"blocks.0.attn.qkv", "readout"}
    assert metadata["metadata"]["timestamp"].endswith("Z")
    assert metadata["text"]["prompt_template"] == "<|user|>{prompt}<|assistant|>"
    assert str(trained.parent) not in text


def test_a_loaded_student_scores_what_metadata_says(trained):
    model, metadata = load_student(trained)
    arrays = np.load(trained / "eval.npz", allow_pickle=False)
    assert arrays["ids"].dtype == np.int32 and arrays["doc_starts"].dtype == np.int64
    assert len(arrays["doc_bytes"]) == len(arrays["doc_starts"]) - 1
    held = EvalDocuments(arrays["ids"], arrays["doc_starts"], arrays["doc_bytes"])
    assert evaluate(model, held).as_dict() == metadata["training_results"]["eval"]


def test_both_weight_files_hold_the_same_tensors_and_fp16_halves_them(trained):
    a = safetensors.torch.load_file(trained / "student.safetensors")
    b = torch.load(trained / "student.pt", weights_only=True)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert all(t.dtype == (torch.float16 if t.ndim > 1 else torch.float32) for t in a.values())
    full = sum(4 * t.numel() for t in a.values())
    assert (trained / "student.safetensors").stat().st_size < 0.62 * full + 8000


@pytest.fixture(scope="module")
def trained_int8(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("int8") / "student", num_steps=20, int8=True)


def test_int8_is_read_alike_by_torch_and_numpy_and_scores_what_metadata_says(trained_int8):
    stored = safetensors.torch.load_file(trained_int8 / "student.safetensors")
    matrices = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    assert {"embed.weight", "blocks.0.attn.qkv.weight", "readout.weight"} <= matrices
    assert stored["embed.weight_scale"].shape == (1, SMALL["rank"])
    full = sum(4 * stored[name].numel() for name in matrices)
    assert sum(stored[n].numel() + 4 * stored[n + "_scale"].numel() for n in matrices) < 0.4 * full
    by_numpy = read_artifact(trained_int8).tensors
    by_torch = read_state(trained_int8)
    assert by_numpy.keys() == by_torch.keys() == stored.keys() - {name + "_scale" for name in matrices}
    for name, array in by_numpy.items():
        assert np.array_equal(array, by_torch[name].float().numpy()), name
    model, metadata = load_student(trained_int8)
    held = np.load(trained_int8 / "eval.npz", allow_pickle=False)
    text = EvalDocuments(held["ids"], held["doc_starts"], held["doc_bytes"])
    assert evaluate(model, text).as_dict() == metadata["training_results"]["eval"]


def test_the_program_of_an_int8_student_holds_the_stored_codes(trained_int8):
    stored = safetensors.torch.load_file(trained_int8 / "student.safetensors")
    program = compile_program(fold(read_artifact(trained_int8)), None).program
    assert np.array_equal(program.embed.table, stored["embed.weight"].numpy())
    first = next(program.all(Linear))
    assert np.array_equal(first.weight, stored["blocks.0.attn.qkv.weight"].numpy().T)


@pytest.mark.parametrize("scales", [None, torch.ones(3, 1), torch.ones(1, 1)])
def test_codes_without_scales_that_fit_are_refused(trained_int8, tmp_path, scales):
    copy = Path(shutil.copytree(trained_int8, tmp_path / "copy"))
    state = safetensors.torch.load_file(copy / "student.safetensors")
    del state["readout.weight_scale"]
    if scales is not None:
        state["readout.weight_scale"] = scales
    safetensors.torch.save_file(state, copy / "student.safetensors")
    for read in (read_artifact, load_student):
        with pytest.raises(ArtifactError, match="'readout.weight'.* is int8 without scales that fit it"):
            read(copy)


def test_student_pt_serves_where_safetensors_is_missing(copy):
    before, _ = load_student(copy)
    (copy / "student.safetensors").unlink()
    after, _ = load_student(copy)
    ids = torch.arange(20)[None]
    assert torch.equal(before(ids), after(ids))


class Payload:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_pickle_payload_is_refused_and_not_run(copy, capsys):
    (copy / "student.safetensors").unlink()
    for content in ({"embed.weight": Payload()}, Payload()):
        torch.save(content, copy / "student.pt")
        with pytest.raises(ArtifactError, match="refused"):
            load_student(copy)
    (copy / "student.pt").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ArtifactError):
        load_student(copy)
    assert "never run" not in capsys.readouterr().out


def test_missing_and_truncated_files_are_clear_errors(copy):
    weights = (copy / "student.safetensors").read_bytes()
    for size in (0, 4, 100, len(weights) - 1):
        (copy / "student.safetensors").write_bytes(weights[:size])
        with pytest.raises(ArtifactError, match="student.safetensors is damaged"):
            load_student(copy)
    (copy / "student.safetensors").unlink()
    torch_file = (copy / "student.pt").read_bytes()
    for size in (0, 100, len(torch_file) - 1000):
        (copy / "student.pt").write_bytes(torch_file[:size])
        with pytest.raises(ArtifactError, match="student.pt"):
            load_student(copy)
    (copy / "student.pt").unlink()
    with pytest.raises(ArtifactError, match="holds no weights"):
        load_student(copy)
    (copy / "metadata.json").unlink()
    with pytest.raises(ArtifactError, match="no metadata.json"):
        load_student(copy)


def test_wrong_tensors_are_named(copy):
    path = copy / "student.safetensors"
    good = safetensors.torch.load_file(path)

    def expect(message, **changes):
        state = {**good, **{name.replace("__", "."): t for name, t in changes.items()}}
        safetensors.torch.save_file({k: t for k, t in state.items() if t is not None}, path)
        with pytest.raises(ArtifactError, match=message):
            load_student(copy)

    expect("1 missing tensors.*readout.bias", readout__bias=None)
    expect("1 unexpected tensors.*head.weight", head__weight=torch.zeros(2))
    expect("'readout.bias' has the wrong shape", readout__bias=torch.zeros(3))
    expect("'readout.bias' has the wrong dtype", readout__bias=torch.zeros(16, dtype=torch.int32))
    expect("'readout.bias' holds NaN", readout__bias=torch.full((16,), float("nan")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ("{}", "lacks"),
        ('{"vocab_size": 9, "architecture": {"name": "x"}, "snn_config": {}}', "unknown student"),
        (
            '{"vocab_size": 9, "architecture": {"name": "spiking_transformer", "dim": 0}, "snn_config": {}}',
            "dim",
        ),
        (
            '{"vocab_size": 9, "architecture": {"name": "spiking_transformer"}, '
            '"snn_config": {"num_timesteps": 0}}',
            "snn_config",
        ),
    ],
)
def test_unusable_metadata_is_a_clear_error(copy, content, message):
    (copy / "metadata.json").write_text(content)
    with pytest.raises(ArtifactError, match=message):
        load_student(copy)


@pytest.mark.parametrize("numerator", [1, 128, 200, 230, 255, 256])
def test_the_decay_survives_its_decimal_form(numerator):
    described = SnnConfig(decay_numerator=numerator).describe()
    del described["decay_numerator"]
    assert SnnConfig.from_metadata(described).decay_numerator == numerator
    assert numerator != 230 or described["membrane_decay"] == 0.9


def test_a_write_that_fails_leaves_the_old_artifact_intact(copy, monkeypatch):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    model, metadata = load_student(copy)
    arrays = np.load(copy / "eval.npz")
    held = EvalDocuments(arrays["ids"], arrays["doc_starts"], arrays["doc_bytes"])

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact.os, "fsync", full)
    tokenizer = load_tokenizer(copy / "tokenizer.json")
    with pytest.raises(OutputError, match="No space left"):
        artifact.write_artifact(copy, stored_state(model, "float32"), metadata, tokenizer, held)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_the_package_imports_no_torch_until_it_is_needed():
    import subprocess
    import sys

    code = (
        "import sys, edgesnn.student, edgesnn.cli.train.command\n"
        "import edgesnn.student.config, edgesnn.text.tokenizer\n"
        "assert 'torch' not in sys.modules and 'tokenizers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
