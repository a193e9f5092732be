"""``edgesnn verify``: 0 when every bit is golden's, 3 when one is not."""

import json

import pytest

from edgesnn.cli.main import run
from edgesnn.runners.golden import GoldenRunner
from edgesnn.runners.onnxruntime.runner import OnnxRuntimeRunner
from tests.support.bundles import copied_bundle, shared_bundle


def verify(capsys, *arguments):
    """Exit code and document of ``verify --json``."""
    code = run(["verify", *map(str, arguments), "--tokens", "1", "--json"])
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, json.loads(captured.out)


@pytest.fixture
def wrong(monkeypatch):
    """ONNX Runtime with one wrong logit in every step."""
    step = OnnxRuntimeRunner.step

    def spoilt(self, tokens):
        output = step(self, tokens)
        output.logits[0, 3] += 5
        return output

    monkeypatch.setattr(OnnxRuntimeRunner, "step", spoilt)


def test_every_target_is_compared_and_exact(capsys):
    code, document = verify(capsys, shared_bundle())
    assert code == 0
    assert document["schema"] == "edgesnn.verify/1"
    assert document["passed"] is True and "error" not in document
    targets = {target["target"]: target for target in document["targets"]}
    assert {"golden", "onnxruntime"} <= set(targets)
    assert all(target["mismatches"] == 0 and target["logits_compared"] > 0 for target in targets.values())


def test_one_wrong_logit_is_exit_code_3_and_one_document_with_results_and_error(capsys, wrong):
    code, document = verify(capsys, shared_bundle(), "--target", "onnxruntime")
    assert code == 3
    assert document["schema"] == "edgesnn.verify/1" and document["passed"] is False
    (target,) = document["targets"]
    assert target["mismatches"] == target["forms"]["step"] + target["forms"]["prefill"] > 0
    assert target["forms"]["sequence"] == 0
    assert target["largest_difference"] == 5
    assert (document["error"]["code"], document["error"]["exit_code"]) == ("parity", 3)
    assert "onnxruntime" in document["error"]["what"]


def test_a_difference_is_shown_in_the_table_and_on_stderr(capsys, wrong):
    assert run(["verify", str(shared_bundle()), "--target", "onnxruntime", "--tokens", "1"]) == 3
    captured = capsys.readouterr()
    assert "DIFFERS" in captured.out
    assert captured.err.startswith("error: target 'onnxruntime' differs from golden")


def test_the_table_says_exact(capsys):
    assert run(["verify", str(shared_bundle()), "--target", "golden", "--tokens", "1"]) == 0
    assert "exact" in capsys.readouterr().out


def test_in_a_process_of_its_own_it_prints_one_document(edgesnn):
    finished = edgesnn("verify", shared_bundle(), "--target", "onnxruntime", "--tokens", "1", "--json")
    assert (finished.exit_code, finished.stderr) == (0, "")
    assert finished.document["passed"] is True


def test_a_target_that_cannot_run_is_skipped_with_its_reason(capsys, monkeypatch):
    monkeypatch.setattr(OnnxRuntimeRunner, "missing", classmethod(lambda cls: "no such library"))
    code, document = verify(capsys, shared_bundle())
    assert code == 0
    assert document["skipped"]["onnxruntime"] == "no such library"
    assert "onnxruntime" not in {target["target"] for target in document["targets"]}
    assert run(["verify", str(shared_bundle()), "--tokens", "1"]) == 0
    assert "skipped onnxruntime: no such library" in capsys.readouterr().out


def test_a_target_that_was_asked_for_and_cannot_run_is_a_device_error(capsys, monkeypatch):
    monkeypatch.setattr(OnnxRuntimeRunner, "missing", classmethod(lambda cls: "no such library"))
    code, document = verify(capsys, shared_bundle(), "--target", "onnxruntime")
    assert (code, document["error"]["code"]) == (4, "device")
    assert "no such library" in document["error"]["actual"]


@pytest.mark.parametrize("target", ["onnxruntim", "", "golden:", "onnxruntime-fp32"])
def test_unknown_and_inexact_targets_are_usage_errors(capsys, target):
    code, document = verify(capsys, shared_bundle(), "--target", target)
    assert (code, document["error"]["code"]) == (2, "usage")


def test_a_runner_that_gives_another_shape_is_a_device_error(capsys, monkeypatch):
    from edgesnn.runners.base import Output

    sequence = GoldenRunner.sequence
    monkeypatch.setattr(
        GoldenRunner, "sequence", lambda self, ids: Output(sequence(self, ids).logits[..., :-1], 1)
    )
    code, document = verify(capsys, shared_bundle(), "--target", "golden")
    assert (code, document["error"]["code"]) == (4, "runner")
    assert "wrong type or shape" in document["error"]["what"]


def test_a_damaged_bundle_and_no_bundle_are_user_errors(capsys, tmp_path):
    folder = copied_bundle(tmp_path / "bundle")
    content = bytearray((folder / "student.onnx").read_bytes())
    content[100] ^= 1
    (folder / "student.onnx").write_bytes(content)
    for path in (folder, tmp_path / "nowhere", tmp_path):
        code, document = verify(capsys, path)
        assert (code, document["error"]["code"]) == (1, "bundle")


def test_less_than_one_token_is_a_usage_error(capsys):
    assert run(["verify", str(shared_bundle()), "--tokens", "0", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"
