"""Networks made now by the libraries themselves, 1,000 inputs each: their simulation against the import.

``make nir-libraries`` runs it: minutes. What the libraries made once is imported in every run of the tests
(`tests/unit/nir/test_recorded.py`).
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgesnn.api.nir.importing import import_network
from edgesnn.nir.graph import read_graph
from edgesnn.nir.nodes import FIRING, NEURONS
from edgesnn.nir.simulate import simulate
from tests.support.nir_files import options_for
from tests.support.patience import patience

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).with_name("nir_sources")
LIBRARIES = ("snntorch", "norse", "sinabs", "spikingjelly")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "EDGESNN_TEST_NIR_LIBRARIES" not in os.environ, reason="EDGESNN_TEST_NIR_LIBRARIES is not set"
    ),
]


@pytest.fixture(scope="module", params=LIBRARIES)
def folder(request, tmp_path_factory):
    """What the script of a library wrote."""
    python = ROOT / ".foreign" / request.param / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"{request.param} has no environment: make nir-libraries makes it")
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run(
        [python, SCRIPTS / f"from_{request.param}.py", folder, "--inputs", "1000", "--steps", "480"],
        check=True,
        capture_output=True,
        timeout=patience() * 4,
    )
    return folder


def test_every_spike_is_the_librarys_and_the_integers_decide_as_it_does(folder):
    slots = differ = 0
    for path in sorted(folder.glob("*.nir")):
        network = import_network(path, options_for(path.stem), calibration=path.with_suffix(".npz"))
        arrays, seen = np.load(path.with_suffix(".npz")), {}
        graph = read_graph(path)
        simulate(graph, network.rules, arrays["frames"][:100], seen.__setitem__)
        fired = [node for node in graph.nodes if node.kind in NEURONS]
        for i, node in enumerate(fired):
            theirs = arrays[f"neurons{i}"][:100]
            if node.kind in FIRING:
                # float32 there, float64 here: a membrane at its threshold may fall to either side
                wrong = (seen[node.name].reshape(theirs.shape) != theirs).sum()
                assert wrong <= 1e-4 * theirs.size, f"{path.stem}, {node.name}: {wrong} of {theirs.size}"
        assert network.agreement.same_top1 > 0.95, path.stem
        assert network.agreement.float_accuracy - network.agreement.integer_accuracy < 0.02, path.stem
        slots += sum(layer.slots for layer in network.agreement.layers)
        differ += sum(layer.differ for layer in network.agreement.layers)
    # Sinabs' maps are by far the most active of these networks: up to 0.44 spikes of a neuron in a frame
    assert differ <= (0.02 if folder.name.startswith("sinabs") else 0.01) * slots
