"""The graph of processes: what is stock, what waits for what, and that the export is whole."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from edgesnn.errors import ExportError, OutputError
from edgesnn.exporters.base import ExportSource
from edgesnn.exporters.lava.arrays import LavaArrays
from edgesnn.exporters.lava.exporter import LavaExporter
from edgesnn.exporters.lava.graph import lower
from edgesnn.program.program import Program
from edgesnn.program.snn_format import program_hash
from tests.parity.lava.conftest import SHAPE, bundle_of, stock_program
from tests.support.random_program import RandomShape, random_program


def classes(program):
    return Counter(entry["class"] for entry in lower(program, LavaArrays()).processes)


def test_a_block_is_ten_processes_and_four_timesteps():
    two, three = (random_program(replace(SHAPE, depth=depth)) for depth in (2, 3))
    assert sum(classes(three).values()) - sum(classes(two).values()) == 10
    assert lower(three, LavaArrays()).latency - lower(two, LavaArrays()).latency == 4
    assert classes(two) == {
        "TokenSource": 1,
        "Dense": 8,
        "ThresholdLIF": 7,
        "ResidualLIF": 4,
        "SpikingAttention": 2,
        "CountSink": 1,
    }


def test_stock_neurons_serve_what_they_can():
    found = classes(stock_program())
    assert found["LIFReset"] == 4  # qkv_lif, mlp.in, up_lif, readout.lif
    assert found["ResidualLIF"] == found["ThresholdLIF"] == 1
    assert found["TokenShift"] == found["CurrentDelay"] == 1  # what a stock population cannot take along


def test_stock_parameters_are_the_programs():
    program = stock_program()
    arrays = LavaArrays()
    entries = {entry["name"]: entry for entry in lower(program, arrays).processes}
    stock = 0
    for op in program.ops:
        entry = entries.get(op.name)
        if entry is None or entry["class"] != "LIFReset":
            continue
        stock += 1
        own = {role: arrays.stored[name].astype(np.int64) for role, name in entry["tensors"].items()}
        np.testing.assert_array_equal(own["bias_mant"] << own["bias_exp"], op.bias)
        assert abs(own["bias_mant"]).max() <= 4095 and own["bias_exp"].max() <= 7
        assert {64 * entry["parameters"]["vth"]} == set(op.threshold.tolist())
        assert entry["parameters"]["dv"] == 4096 - 16 * op.decay and entry["parameters"]["du"] == 4095
        assert entry["parameters"]["reset_offset"] == (1 + entry["latency"]) % program.timesteps
    assert stock == 4


@pytest.mark.parametrize(
    "program", [random_program(SHAPE), stock_program(), random_program(replace(SHAPE, saturate=True))]
)
def test_whatever_meets_in_a_port_has_the_same_latency_there(program):
    graph = lower(program, LavaArrays())
    entries = {entry["name"]: entry for entry in graph.processes}
    for source, target in graph.connections:
        (name, port), reader = source.rsplit(".", 1), entries[target.rsplit(".", 1)[0]]
        made = entries[name]
        later = {"Dense": 1, "CurrentDelay": made["parameters"].get("delay")}.get(made["class"], 0)
        if made["class"] == "ResidualLIF" and port == "a_out":
            later = made["parameters"]["relay"]
        assert made["latency"] + later == reader["latency"], (source, target)
    assert len(set(graph.connections)) == len(graph.connections)


def test_a_value_that_is_added_to_itself_is_connected_once_and_copied_once():
    program = random_program(SHAPE)
    ops = [replace(op, right=op.left) if op.name == "blocks.1.mlp.add" else op for op in program.ops]
    graph = lower(Program(program.timesteps, tuple(ops)), LavaArrays())
    assert len(set(graph.connections)) == len(graph.connections)
    assert any(entry["name"] == "blocks.1.mlp.add.copy" for entry in graph.processes)


def test_an_op_that_lava_has_no_process_for_is_an_export_error():
    program = random_program()
    strange = type("Convolve", (), {"name": "conv", "out": "y", "input": "x0"})()
    with pytest.raises(ExportError, match="Lava has no process for op 'conv'; actual: Convolve"):
        lower(Program(4, (program.ops[0], strange)), LavaArrays())  # type: ignore[arg-type]


def test_equal_arrays_are_stored_once():
    arrays = LavaArrays()
    assert arrays.add("a", np.arange(3)) == arrays.add("b", np.arange(3)) == "a"
    assert arrays.add("c", np.arange(3).astype(np.int8)) == "c"
    assert arrays.add("d", np.arange(4)[:3][None]) == "d"
    assert set(arrays.stored) == {"a", "c", "d"}


def test_two_exports_of_one_program_are_the_same_bytes(tmp_path):
    program = random_program(SHAPE)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        source = ExportSource(program, None, "random", program_hash(program))
        result = LavaExporter().export(source, tmp_path / name)
    written = {path.relative_to(tmp_path / "one").as_posix() for path in (tmp_path / "one").rglob("*.*")}
    assert {file for file in result.files.values()} == written
    for file in result.files.values():
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_the_bundle_lists_every_file_and_the_folder_needs_nothing_of_edgesnn(bundle):
    files = bundle.manifest.exports["lava"].files
    assert {"manifest", "weights", "run", "readme", "requirements", "package.build"} <= set(files)
    assert set(files.values()) <= set(bundle.manifest.files)
    for path in (bundle.path / "lava").rglob("*.py"):
        assert "import edgesnn" not in path.read_text() and "from edgesnn" not in path.read_text()
    document = json.loads(bundle.export_file("lava", "manifest").read_text())
    named = {
        name for entry in (*document["processes"], *document["ops"]) for name in entry["tensors"].values()
    }
    with np.load(bundle.export_file("lava", "weights")) as stored:
        assert set(stored) == named


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "lava").write_text("in the way")
    program = random_program(RandomShape(vocab=9, dim=4, depth=1, windows=(2,), mlp=3, rank=2, shifted=0))
    with pytest.raises(OutputError, match="cannot write the Lava export"):
        LavaExporter().export(ExportSource(program, None, "random", "0" * 64), tmp_path)


def test_an_export_can_be_made_into_a_bundle_without_lava_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert LavaExporter.missing() is None
    assert bundle_of(random_program(SHAPE), tmp_path).has_export("lava")
