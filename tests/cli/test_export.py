"""``edgesnn export``: exit codes, the document, and what is left behind."""

import json

import pytest

from edgesnn.bundle.bundle import Bundle
from edgesnn.cli.main import run
from tests.support.artifacts import change_metadata, change_tensors, write_artifact


@pytest.fixture
def artifact(tmp_path):
    return write_artifact(tmp_path / "student", depth=1)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "bundle"


def document(capsys):
    """Stdout as one JSON document, and nothing else there or on stderr."""
    captured = capsys.readouterr()
    assert captured.err == ""
    return json.loads(captured.out)


def failed(capsys, *arguments):
    """Exit code and error of a command line that fails, with --json."""
    code = run([*map(str, arguments), "--json"])
    error = document(capsys)["error"]
    assert error["exit_code"] == code
    return code, error


def test_an_export_succeeds_and_shows_files_and_cost(artifact, output, capsys):
    assert run(["export", str(artifact), "-o", str(output), "--format", "onnx"]) == 0
    shown = capsys.readouterr().out
    assert "student.step.onnx" in shown and "no overflow possible" in shown
    assert "bits per byte" in shown and "MEASURED" in shown
    assert set(Bundle(output).manifest.exports) == {"onnx"}


def test_the_document_holds_hash_files_and_report(artifact, output, capsys):
    assert run(["export", str(artifact), "-o", str(output), "--name", "mine", "--json"]) == 0
    made = document(capsys)
    bundle = Bundle(output)
    assert made["schema"] == "edgesnn.export/1"
    assert (made["bundle"], made["name"]) == ("bundle", "mine")
    assert made["program_hash"] == bundle.manifest.program_hash
    assert made["files"] == {name: entry.bytes for name, entry in bundle.manifest.files.items()}
    assert set(made["exports"]) >= {"onnx", "onnx-fp32"}
    assert made["quantisation"]["calibration"]["documents"] == 6


def test_an_export_in_a_process_of_its_own_writes_the_bundle(edgesnn, artifact, output):
    finished = edgesnn("export", artifact, "-o", output, "--format", "onnx", "--json")
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert finished.document["program_hash"] == Bundle(output).manifest.program_hash


def test_an_existing_output_is_kept_without_force_and_replaced_with_it(artifact, output, capsys):
    arguments = ["export", artifact, "-o", output, "--format", "onnx"]
    assert run([*map(str, arguments)]) == 0
    capsys.readouterr()
    code, error = failed(capsys, *arguments)
    assert (code, error["code"]) == (1, "output")
    assert "--force" in error["remedy"]
    assert run([*map(str, arguments), "--force", "--name", "second"]) == 0
    assert Bundle(output).name == "second"


@pytest.mark.parametrize("formats", ["onx", "onnx,pdf", "onnx,onx"])
def test_an_unknown_format_is_a_usage_error_and_nothing_is_written(artifact, output, capsys, formats):
    code, error = failed(capsys, "export", artifact, "-o", output, "--format", formats)
    assert (code, error["code"]) == (2, "usage")
    assert not output.exists()


@pytest.mark.parametrize("formats", ["", ",", " , "])
def test_an_empty_list_of_formats_is_a_usage_error(artifact, output, capsys, formats):
    code, error = failed(capsys, "export", artifact, "-o", output, "--format", formats)
    assert (code, error["what"]) == (2, "--format names no format")
    assert not output.exists()


def test_a_missing_artifact_is_a_user_error(output, tmp_path, capsys):
    code, error = failed(capsys, "export", tmp_path / "nowhere", "-o", output)
    assert (code, error["code"]) == (1, "artifact")
    assert "does not exist" in error["what"]


def test_without_json_an_error_goes_to_stderr_with_its_remedy(output, tmp_path, capsys):
    assert run(["export", str(tmp_path / "nowhere"), "-o", str(output)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: student artifact") and "remedy: edgesnn train" in captured.err


def test_an_output_that_cannot_be_written_is_an_error_that_leaves_nothing(artifact, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    code, error = failed(capsys, "export", artifact, "-o", tmp_path / "file" / "bundle", "--format", "onnx")
    assert (code, error["code"]) == (1, "output")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "student"]


def test_a_student_without_integer_program_names_what_stands_in_the_way(artifact, output, capsys):
    change_metadata(artifact, model_type="SpikingStudentLM", architecture_version="v1.0")
    code, error = failed(capsys, "export", artifact, "-o", output, "--format", "c")
    assert (code, error["code"]) == (1, "compile")
    assert "GELU" in error["what"]
    assert not output.exists()


def test_a_damaged_student_is_a_user_error(artifact, output, capsys):
    change_tensors(artifact, readout__bias=None)
    code, error = failed(capsys, "export", artifact, "-o", output)
    assert (code, error["code"]) == (1, "artifact")


def test_missing_output_is_a_usage_error(artifact, capsys):
    code, error = failed(capsys, "export", artifact)
    assert (code, error["code"]) == (2, "usage")


def test_the_manifest_says_what_every_way_of_running_needs(artifact, output):
    assert run(["export", str(artifact), "-o", str(output), "--format", "onnx,c"]) == 0
    manifest = Bundle(output).manifest
    files = {name: entry.bytes for name, entry in manifest.files.items()}
    assert manifest.sizes == {
        "program.snn": files["program.snn"],
        "onnx sequence": files["student.onnx"],
        "onnx step": files["student.step.onnx"],
        "onnx prefill": files["student.prefill.onnx"],
        "c program": files["c/program.snn"],
    }


def test_cross_builds_are_in_the_bundle_with_their_hashes(artifact, output, monkeypatch):
    from edgesnn.api import students

    built = []

    def build(folder, names):
        built.append((folder.name, names, sorted(path.name for path in folder.glob("*.c"))))
        (folder / "snn_example.aarch64").write_bytes(b"binary")

    monkeypatch.setattr(students, "require_compilers", lambda names: None)
    monkeypatch.setattr(students, "cross_build", build)
    arguments = ["export", str(artifact), "-o", str(output), "--format", "c", "--cross", "aarch64, riscv64"]
    assert run(arguments) == 0
    assert built == [("c", ("aarch64", "riscv64"), ["main.c", "snn.c"])]
    assert Bundle(output).manifest.files["c/snn_example.aarch64"].bytes == 6


@pytest.fixture
def no_compiler(monkeypatch):
    from edgesnn.exporters.c import cross as c_cross

    monkeypatch.setattr(c_cross, "cross_compiler", lambda target: None)


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("--format onnx --cross aarch64", 2),
        ("--format c --cross sparc", 2),
        ("--format c --cross ,", 2),
        ("--format c --cross aarch64", 1),
    ],
)
def test_an_impossible_cross_build_is_refused_before_anything_is_written(
    artifact, output, capsys, options, code
):
    assert failed(capsys, "export", artifact, "-o", output, *options.split())[0] == code
    assert not output.exists()
