import re
import subprocess

import pytest

from edgesnn import __version__
from edgesnn.record.provenance import collect_provenance, without_paths


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/usr/lib/libonnxruntime.so.1", "libonnxruntime.so.1"),
        ("no file '/home/somebody/x/model.onnx' there", "no file 'model.onnx' there"),
        ("(/tmp/a/b)", "(b)"),
        ("~/models/a", "a"),
        (r"C:\Users\somebody\model.onnx", "model.onnx"),
        ("C:/Users/somebody/model.onnx", "model.onnx"),
        ("file:///srv/models/a.onnx", "a.onnx"),
        ("cwd=/srv/models", "cwd=models"),
        ("operations/token and bits/byte", "operations/token and bits/byte"),
        ("runs/one.json", "runs/one.json"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("1 / 2", "1 / 2"),
    ],
)
def test_absolute_paths_keep_their_last_part_only(text, shown):
    assert without_paths(text) == shown


def test_paths_are_shortened_at_every_depth():
    assert without_paths({"a": ["/x/y", {"b": "/x/z"}], "c": 3}) == {"a": ["y", {"b": "z"}], "c": 3}


def test_the_command_line_keeps_no_path(tmp_path):
    command = [
        str(tmp_path / "bin" / "edgesnn"),
        "profile",
        str(tmp_path / "b"),
        f"--output={tmp_path}/r.json",
    ]
    found = collect_provenance([*command, "../outside/b"], tmp_path)
    assert found.command == ["edgesnn", "profile", "b", "--output=r.json", "b"]


def test_outside_of_git_there_is_a_reason_instead_of_a_commit(tmp_path):
    found = collect_provenance(["edgesnn"], tmp_path)
    assert found.git_commit is None
    assert found.git_reason
    assert found.packages["edgesnn"] == __version__


def _git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_inside_of_git_commit_and_changes_are_recorded(tmp_path):
    _git(tmp_path, "init")
    (tmp_path / "a").write_text("1")
    _git(tmp_path, "add", "a")
    _git(tmp_path, "commit", "-m", "one")
    clean = collect_provenance(["edgesnn"], tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}", clean.git_commit)
    assert clean.git_dirty is False
    (tmp_path / "a").write_text("2")
    assert collect_provenance(["edgesnn"], tmp_path).git_dirty is True
