"""Other libraries load the files that we write for them, now, in their own environments.

``make nir-libraries`` runs it. What they made once is compared in every run of the tests
(`tests/unit/nir/test_read_elsewhere.py`).
"""

import os

import pytest

from tests.foreign.nir_readers.collect import ROOT, ask
from tests.support.nir_files import READ_BACK

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        "EDGESNN_TEST_NIR_LIBRARIES" not in os.environ, reason="EDGESNN_TEST_NIR_LIBRARIES is not set"
    ),
]


@pytest.mark.parametrize("library", READ_BACK)
def test_a_library_loads_the_file_and_fires_as_golden(library, tmp_path):
    if not (ROOT / ".foreign" / library / "bin" / "python").is_file():
        pytest.skip(f"{library} has no environment: make nir-libraries makes it")
    for case in READ_BACK[library]:
        theirs, golden = ask(library, case, tmp_path)
        assert theirs.any() and (theirs != golden).mean() <= 0.01, case


@pytest.mark.parametrize(("library", "example"), [("snntorch", "tones"), ("spikingjelly", "gesture")])
def test_the_scripts_of_the_examples_train_and_write_a_file_that_imports(library, example, tmp_path):
    import subprocess

    from edgesnn.api.nir.importing import ImportOptions, import_network

    python = ROOT / ".foreign" / library / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"{library} has no environment: make nir-libraries makes it")
    made = tmp_path / f"{example}.nir"
    script = ROOT / "examples" / example / "train.py"
    subprocess.run([python, script, made, "--steps", "2"], check=True, capture_output=True)
    reset = "zero"
    network = import_network(made, ImportOptions(library, reset=reset))
    kept = import_network(script.with_name(f"{example}.nir"), ImportOptions(library, reset=reset))
    assert network.program.channels() == kept.program.channels()
