"""One small bundle with a C export, made without a student: what the runner and the exporter need of it."""

import shutil
import subprocess

import pytest

from edgesnn.exporters.base import ExportSource
from edgesnn.exporters.c.exporter import CExporter
from edgesnn.program.snn_format import program_hash
from tests.support.random_program import RandomShape, random_program
from tests.support.shared import shared


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


@pytest.fixture(scope="session", params=["gcc", "clang"])
def built(request, project):
    """The folder of that export with the example built in it by one compiler; read only."""
    if shutil.which(request.param) is None or shutil.which("make") is None:
        pytest.skip(f"{request.param} or make is not installed")

    def make(folder):
        shutil.copytree(project, folder)
        subprocess.run(["make", "-s", f"CC={request.param}"], cwd=folder, check=True)

    return shared(f"c-example-{request.param}", make)


def add_example(folder, built):
    """Put the built example into another export, of the same sources: it reads its model when it runs."""
    made_of = ["Makefile", *(path.name for path in built.glob("*.[ch]"))]
    assert all((folder / name).read_bytes() == (built / name).read_bytes() for name in made_of)
    shutil.copy2(built / "snn_example", folder)
