"""Programs written as NIR: what comes back through our own importer, what is left out, what is said of it."""

import json
import shlex

import numpy as np
import pytest

from edgesnn.api.nir.importing import ImportOptions, import_network
from edgesnn.api.nir.writing import LIST_NAME, export_nir
from edgesnn.cli.main import run
from edgesnn.errors import ExportError, OutputError
from edgesnn.nir.dialects import DIALECTS
from edgesnn.nir.unfold import segments
from edgesnn.nir.writing import nir_files
from edgesnn.program.golden import Golden
from edgesnn.program.ops import LIF, Attend, Linear
from edgesnn.program.ops_frames import Conv, FrameOutput, Frames, Reset, StatefulLIF
from edgesnn.program.program import Program
from edgesnn.program.snn_format import program_hash, to_bytes
from tests.support.nir_files import SAID, options_for, recorded
from tests.support.random_program import RandomShape, random_program


def options_said(read_back, **more):
    """The options of a command line as `ImportOptions`."""
    words, given = shlex.split(read_back), {}
    while words:
        name = words.pop(0)
        if name == "--no-norm-input":
            given["norm_input"] = False
        else:
            value = words.pop(0)
            given[name[2:]] = float(value) if name == "--dt" else value
    return ImportOptions(**given, **more)


@pytest.mark.parametrize("case", SAID)
def test_a_network_of_frames_comes_back_as_the_same_program(case, tmp_path):
    path = recorded(case, tmp_path)
    labelled = path.with_suffix(".npz")
    program = import_network(path, options_for(case), calibration=labelled).program
    files, left = nir_files(case, program)
    assert not left and len(files) == len(DIALECTS)
    told = [file for file in files if file.read_back is not None]
    assert told, "no dialect says how this network is read back"
    for file in told:
        (tmp_path / file.name).write_bytes(file.content)
        back = import_network(tmp_path / file.name, options_said(file.read_back), calibration=labelled)
        assert program_hash(back.program) == program_hash(program), file.name


@pytest.fixture(scope="module")
def language():
    """A small language model: two blocks, T = 3."""
    shape = RandomShape(
        vocab=11, dim=12, depth=2, windows=(1, 3), mlp=9, rank=4, timesteps=3, shifted=3, density=0.4
    )
    return random_program(shape, 5)


def test_of_a_language_model_every_chain_of_weights_and_neurons_is_written(language):
    chains, left = segments(language)
    written = {op.name for chain in chains for op in chain}
    assert written.isdisjoint(left) and written | set(left) == {op.name for op in language.ops}
    assert {op.name for op in language.all(Linear)} <= written
    assert all("attention" in left[op.name] for op in language.all(Attend))
    assert any(isinstance(op, LIF) for chain in chains for op in chain)


@pytest.mark.parametrize("dialect", ["euler", "norse"])
def test_neurons_of_a_language_model_fire_as_in_golden_when_every_token_begins_anew(
    language, dialect, tmp_path
):
    files, _ = nir_files("small", language)
    chains = {chain[0].name: chain for chain in segments(language)[0]}
    spiking = next(name for name, chain in chains.items() if isinstance(chain[-1], LIF))
    [file] = [one for one in files if one.name == f"small.{spiking}.{dialect}.approximate.nir"]
    assert any("3 time steps" in why for why in file.approximate)
    (tmp_path / file.name).write_bytes(file.content)
    back = import_network(tmp_path / file.name, options_said(file.read_back, readout="spikes"))
    seen = {}
    Golden(language).sequence(np.random.default_rng(1).integers(0, 11, (2, 20)), seen.__setitem__)
    weights, neurons = chains[spiking]
    read = seen[weights.input].reshape(-1, 3, back.program.frames.channels)  # tokens, T, channels
    made = Golden(back.program).sequence(read.astype(np.int8))
    assert made.any() and not made.all()
    np.testing.assert_array_equal(made, seen[neurons.out].reshape(made.shape))


def test_a_map_that_comes_from_nowhere_is_refused():
    program = Program(
        1,
        (
            Frames("in", "in", (16,)),
            Conv("conv", "in", "conv", np.ones((1, 1, 3, 3), np.int8), (1, 4, 4), padding=(1, 1)),
            StatefulLIF(
                "lif", "conv", "lif", *(np.array([one], np.int32) for one in (200, 100, 0)), Reset.ZERO
            ),
            FrameOutput("out", "lif", "out", summed=True),
        ),
    )
    with pytest.raises(ExportError, match=r"\[16\] as a map of \[1, 4, 4\]"):
        nir_files("flat", program)


@pytest.fixture
def wake(tmp_path):
    """A program alone."""
    path = tmp_path / "wake.snn"
    path.write_bytes(
        to_bytes(import_network(recorded("snntorch-maps", tmp_path), options_for("snntorch-maps")).program)
    )
    return path


def test_an_export_lists_its_files_and_replaces_only_an_export(wake, tmp_path):
    written = export_nir(wake, tmp_path / "out")
    listed = json.loads((tmp_path / "out" / LIST_NAME).read_text())
    assert listed == written.report() and listed["left_out"] == {}
    for file in listed["files"]:
        assert file["name"].endswith(".approximate.nir") and file["approximate"]
        assert (tmp_path / "out" / file["name"]).stat().st_size == file["bytes"]
    with pytest.raises(OutputError, match="exists already"):
        export_nir(wake, tmp_path / "out")
    export_nir(wake, tmp_path / "out", overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(OutputError, match="no export of NIR"):
        export_nir(wake, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_the_file_itself_says_that_it_is_approximate(wake, tmp_path):
    import h5py

    written = export_nir(wake, tmp_path / "out")
    with h5py.File(tmp_path / "out" / written.files[0].name) as file:
        said = {key: value[()].decode() for key, value in file["node/metadata"].items()}
    assert said["readers"] == "snntorch, spikingjelly"
    assert "not rounded" in said["approximate"]


def test_the_command_writes_a_folder_and_nothing_else(wake, tmp_path, capsys):
    assert run(["export", str(wake), "-o", str(tmp_path / "out"), "--format", "nir", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgesnn.export_nir/1"
    assert {file["name"] for file in document["files"]} | {LIST_NAME} == {
        path.name for path in (tmp_path / "out").iterdir()
    }
    assert run(["export", str(wake), "-o", str(tmp_path / "both"), "--format", "nir,c"]) == 2
    assert "not a part of a bundle" in capsys.readouterr().err


def test_a_bundle_exports_under_its_own_name(tmp_path):
    network = import_network(recorded("snntorch-zero", tmp_path), options_for("snntorch-zero"))
    network.write(tmp_path / "bundle")
    written = export_nir(tmp_path / "bundle", tmp_path / "out")
    assert written.program_hash == program_hash(network.program)
    assert [file.name.partition(".")[0] for file in written.files] == ["snntorch-zero"] * len(DIALECTS)
