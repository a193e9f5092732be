"""``edgesnn import``: a network of another library becomes a bundle, or is refused in one sentence."""

import json

import numpy as np
import pytest

from edgesnn.bundle.bundle import Bundle
from edgesnn.cli.main import run
from edgesnn.program.snn_format import read_program
from tests.support.nir_files import chain, recorded


@pytest.fixture
def edgesnn(capsys):
    """Run a command line; what it wrote to both streams."""

    def call(*arguments, code=0):
        done = run([str(one) for one in arguments])
        captured = capsys.readouterr()
        assert done == code, captured.err + captured.out
        return captured

    return call


@pytest.fixture
def wake(tmp_path):
    return recorded("snntorch-zero", tmp_path)


def test_an_imported_network_is_a_bundle_that_verifies_and_says_what_it_cost(edgesnn, wake, tmp_path):
    labelled = wake.with_suffix(".npz")
    done = edgesnn(
        "import", wake, "--source", "snntorch", "--reset", "zero", "--calibration", labelled,
        "-o", tmp_path / "wake", "--json",
    )  # fmt: skip
    document = json.loads(done.out)
    assert document["schema"] == "edgesnn.import/1"
    assert document["rules"] == {
        "source": "snntorch", "dt": 1e-4, "reset": "zero", "many": False, "norm_input": None,
    }  # fmt: skip
    assert document["input"] == {"shape": [24], "low": 0, "high": 1, "scale": 1.0}
    assert [layer["node"] for layer in document["layers"]] == ["1", "3"]
    agreement = document["agreement"]
    assert agreement["windows"] == 4 and agreement["frames"] == 24
    assert agreement["layers"][0]["slots"] == 4 * 24 * 32
    assert 0 <= agreement["differ_share"] < 0.02
    assert agreement["float_accuracy"] is not None and agreement["integer_accuracy"] is not None
    bundle = Bundle(tmp_path / "wake")
    assert bundle.manifest.program_hash == document["program_hash"]
    assert bundle.manifest.quantisation["agreement"] == agreement
    verified = json.loads(edgesnn("verify", tmp_path / "wake", "--target", "golden", "--json").out)
    assert "error" not in verified


def test_the_table_names_every_layer_and_the_accuracy(edgesnn, wake, tmp_path):
    done = edgesnn(
        "import", wake, "--source", "snntorch", "--reset", "zero", "-o", tmp_path / "w.snn",
        "--calibration", wake.with_suffix(".npz"),
    )  # fmt: skip
    assert "layers of neurons" in done.out and "accuracy" in done.out and "(MEASURED)" in done.out
    assert read_program(tmp_path / "w.snn").program.outputs == 6


def test_without_calibration_it_says_that_nothing_was_measured(edgesnn, wake, tmp_path):
    done = edgesnn("import", wake, "--source", "snntorch", "-o", tmp_path / "w.snn")
    assert "no calibration set: what the integers cost was not measured" in done.out


def test_what_exists_is_replaced_only_by_force(edgesnn, wake, tmp_path):
    for name in ("w.snn", "bundle"):
        again = ("import", wake, "--source", "snntorch", "-o", tmp_path / name)
        edgesnn(*again)
        assert "exists already" in edgesnn(*again, code=1).err
        edgesnn(*again, "--force")


def test_a_network_that_cannot_enter_is_one_error_that_names_every_node(edgesnn, tmp_path):
    path = chain(tmp_path / "x.nir", ("a", {"type": "Foo"}), ("b", {"type": "CubaLIF"}))
    done = edgesnn("import", path, "--source", "norse", "-o", tmp_path / "w", "--json", code=1)
    error = json.loads(done.out)["error"]
    assert error["code"] == "network" and "for 2 reasons" in error["what"]
    assert "node 'a' (Foo)" in error["actual"] and "node 'b' (CubaLIF)" in error["actual"]
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "missing option '--source'"),
        (("--source", "norse", "--reset", "none"), "norse has no reset 'none'"),
        (("--source", "rockpool"), "there is no source 'rockpool'"),
        (("--source", "norse", "--input-shape", "2,x"), "a shape is one to three positive whole numbers"),
        (("--source", "norse", "--input-scale", "-1"), "what a sample is worth is a positive number"),
        (("--source", "norse", "--readout", "logits"), "a readout is counts or spikes"),
        (("--source", "norse", "--norm-input"), "say themselves how neurons scale their input"),
    ],
)
def test_a_wrong_option_is_a_usage_error(edgesnn, wake, tmp_path, arguments, reason):
    assert reason in edgesnn("import", wake, "-o", tmp_path / "w", *arguments, code=2).err


def test_samples_are_scaled_by_the_calibration_set_or_by_the_user(edgesnn, tmp_path):
    path = recorded("snntorch-samples", tmp_path)
    frames = np.load(path.with_suffix(".npz"))["frames"]
    base = (
        "import",
        path,
        "--source",
        "snntorch",
        "--reset",
        "zero",
        "--json",
        "--force",
        "-o",
        tmp_path / "s.snn",
    )
    seen = json.loads(edgesnn(*base, "--calibration", path.with_suffix(".npz")).out)
    assert seen["input"]["scale"] == pytest.approx(float(np.abs(frames).max()) / 127)
    assert seen["agreement"]["clipped"] == 0
    given = json.loads(
        edgesnn(*base, "--input-scale", "0.004", "--calibration", path.with_suffix(".npz")).out
    )
    assert given["input"]["scale"] == pytest.approx(0.004)
    assert given["agreement"]["clipped"] > 0  # 127 * 0.004 is about a half


def test_a_bundle_holds_the_formats_that_were_asked_for(edgesnn, wake, tmp_path):
    done = edgesnn("import", wake, "--source", "snntorch", "--format", "c", "-o", tmp_path / "w", "--json")
    bundle = Bundle(tmp_path / "w")
    assert json.loads(done.out)["exports"]["c"]["program"] == "c/program.snn"
    assert sorted(bundle.manifest.exports) == ["c"]
    assert "c/snn.c" in edgesnn(
        "import", wake, "--source", "snntorch", "--format", "c", "-o", tmp_path / "w", "--force"
    ).out  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("web w", "format 'web' carries no network that reads frames"),
        ("cc w", "no exporter 'cc'"),
        (", w", "--format names no format"),
        ("c w.snn", "holds the program alone, no formats"),
    ],
)
def test_a_format_that_carries_no_frames_is_refused_by_name(edgesnn, wake, tmp_path, asked, message):
    asked, to = asked.split()
    done = edgesnn(
        "import", wake, "--source", "snntorch", "--format", asked, "-o", tmp_path / to, code=2
    )  # fmt: skip
    assert message in " ".join(done.err.split())
    assert not (tmp_path / to).exists()
