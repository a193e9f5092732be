"""One small bundle with a C export, made without a student: what the runner and the exporter need of it."""

import pytest

from edgesnn.exporters.base import ExportSource
from edgesnn.exporters.c.exporter import CExporter
from edgesnn.program.snn_format import program_hash
from tests.support.random_program import RandomShape, random_program


@pytest.fixture(scope="session")
def program():
    return random_program(RandomShape(vocab=300, dim=64, windows=(1, 3, 5, 9)), 3)


@pytest.fixture(scope="session")
def project(program, tmp_path_factory):
    """The folder of a C export."""
    folder = tmp_path_factory.mktemp("export")
    result = CExporter().export(ExportSource(program, None, "tiny", program_hash(program)), folder)
    assert all((folder / file).is_file() for file in result.files.values())
    return folder / "c"
