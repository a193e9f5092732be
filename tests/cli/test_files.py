"""Files where folders are meant: weights, metadata, one exported model."""

import json
import shutil

import numpy as np
import pytest

import edgesnn
from edgesnn import errors
from edgesnn.api.background.files import export_file
from edgesnn.resources import model_folder
from tests.support.artifacts import write_artifact
from tests.support.bundles import shared_bundle

IDS = np.array([[3, 1, 4, 1, 5]])


@pytest.fixture
def artifact(tmp_path):
    """A small student with both of its weights files."""
    folder = write_artifact(tmp_path / "artifacts" / "mine", depth=1)
    torch = pytest.importorskip("torch", reason="needs the `train` extra")
    from safetensors.torch import load_file

    torch.save(load_file(folder / "student.safetensors"), folder / "student.pt")
    return folder


@pytest.fixture
def bundle(tmp_path):
    return shutil.copytree(shared_bundle(), tmp_path / "bundle")


def test_a_file_stands_for_its_folder_and_other_files_do_not(artifact, bundle):
    for name in ("student.pt", "student.safetensors", "metadata.json"):
        assert model_folder(artifact / name) == artifact
    for name in ("student.onnx", "manifest.json", "program.snn", "student.pt", "student.safetensors"):
        assert model_folder(bundle / name) == bundle, "weights of a bundle need not be there"
    for path in (artifact / "tokenizer.json", artifact / "other.pt", artifact / "nowhere", artifact):
        assert model_folder(path) == path
    assert model_folder(artifact.parent / "student.pt") == artifact.parent / "student.pt"
    (artifact / "student.pt").unlink()
    assert model_folder(artifact / "student.pt") == artifact


@pytest.mark.parametrize("name", ["student.pt", "student.safetensors"])
def test_every_function_takes_the_file(artifact, bundle, name, tmp_path):
    same = edgesnn.read_student(artifact).tensors
    for other in (edgesnn.read_student(artifact / name).tensors,):
        assert same.keys() == other.keys() and all(np.array_equal(same[k], other[k]) for k in same)
    made = edgesnn.export_student(artifact / name, tmp_path / "made", "onnx")
    assert made.name == "mine"
    assert str(edgesnn.generate_text(artifact / name, "Hi", target="golden", max_tokens=2)) is not None
    assert edgesnn.open_bundle(bundle / name).path == bundle
    assert edgesnn.map_bundle(artifact / name, "loihi2").fit is not None
    with edgesnn.SNNLLMBackend(model_path=artifact / name, target="golden") as backend:
        assert backend.model_name == "mine"


@pytest.mark.torch
def test_the_loader_of_torch_models_takes_the_file(artifact):
    from edgesnn.student import load_student

    model, metadata = load_student(artifact / "student.pt")
    assert metadata["architecture"]["depth"] == 1 and not model.training


@pytest.mark.parametrize(
    "command",
    [
        ("verify", "{bundle}/student.onnx", "--target", "golden"),
        ("generate", "{artifact}/student.pt", "Hi", "--max-tokens", "2", "--target", "golden"),
        ("map", "{bundle}/program.snn", "--chip", "loihi2"),
    ],
)
def test_every_command_takes_the_file(edgesnn_here, artifact, bundle, command):
    words = [word.format(artifact=artifact, bundle=bundle) for word in command]
    finished = edgesnn_here(*words, "--json")
    assert finished.exit_code == 0, finished.document


def test_the_export_of_the_guide_writes_one_file_with_the_logits_of_golden(edgesnn_here, artifact):
    import onnxruntime

    finished = edgesnn_here(
        "export",
        "--model-path", artifact / "student.pt",
        "--metadata-path", artifact / "metadata.json",
        "--output-path", artifact / "student.onnx",
        "--json",
    )  # fmt: skip
    assert finished.exit_code == 0, finished.document
    assert (finished.document["file"], finished.document["format"]) == ("student.onnx", "onnx")
    model = artifact / "student.onnx"
    assert finished.document["bytes"] == model.stat().st_size
    assert not list(artifact.parent.rglob("manifest.json")), "one file, no bundle"
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    [logits] = session.run(None, {"input_ids": IDS})
    _, _, compiled = edgesnn.compile_student(artifact)
    from edgesnn.program.golden import Golden

    want = Golden(compiled.program).sequence(IDS) * np.float32(compiled.program.logit_scale)
    assert np.array_equal(logits, want)


def test_metadata_may_lie_elsewhere(edgesnn_here, artifact, tmp_path):
    apart = tmp_path / "apart.json"
    (artifact / "metadata.json").rename(apart)
    given = ("export", "--model-path", artifact / "student.pt", "-o", "made", "--format", "onnx", "--json")
    assert edgesnn_here(*given).exit_code == 1
    finished = edgesnn_here(*given, "--metadata-path", apart)
    assert finished.exit_code == 0 and finished.document["name"] == "mine"
    missing = edgesnn_here(*given, "--force", "--metadata-path", tmp_path / "none.json")
    assert missing.exit_code == 1 and "none.json" in missing.document["error"]["what"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("-o made", 2, "neither ARTIFACT nor --model-path"),
        ("{artifact} --model-path {artifact}/student.pt -o made", 2, "say the same"),
        ("{artifact}", 2, "neither --output nor --output-path"),
        ("{artifact} -o made --output-path student.onnx", 2, "say the same"),
        ("{artifact} --output-path student.xyz", 2, ".torchscript.pt"),
        ("{artifact} --output-path site --format web", 2, "is a folder, not a file"),
        ("{artifact} --output-path x.onnx --format onnx,c", 2, "one file of one format"),
        ("{artifact} --output-path x.snn --cross aarch64", 2, "one file of one format"),
        ("{artifact} --output-path {artifact}", 2, ".onnx"),
        ("{artifact}/student.pt/x --output-path student.onnx", 1, "does not exist"),
    ],
)
def test_what_cannot_be_written_is_one_clear_error(edgesnn_here, artifact, options, code, said):
    finished = edgesnn_here("export", *options.format(artifact=artifact).split(), "--json")
    tmp_path = artifact.parents[1]
    assert finished.exit_code == code
    assert said in json.dumps(finished.document["error"])
    assert not list(tmp_path.glob("made")) and not list(tmp_path.glob("*.onnx"))


def test_a_format_is_known_by_the_end_of_the_name_or_named(artifact, tmp_path):
    snn, made = export_file(artifact, tmp_path / "new" / "any.snn")
    assert snn.read_bytes()[32:64].hex() == made.manifest.program_hash
    plain, _ = export_file(artifact, tmp_path / "model.bin", "onnx")
    assert b"edgesnn" in plain.read_bytes()
    with pytest.raises(errors.UsageError, match="is a folder"):
        export_file(artifact, tmp_path, "onnx")
