"""What the TFLite tests share: the runtimes, and programs exported into folders."""

import sys

import pytest

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed: pip install 'edgesnn[tflite]'")

from edgesnn.exporters.base import ExportSource
from edgesnn.exporters.tflite.exporter import TfliteExporter
from tests.parity.tflite.runtimes import NAMES, Runtime, old_python


@pytest.fixture(scope="session", params=NAMES)
def runtime(request, tmp_path_factory):
    """ai-edge-litert from this environment, then tflite-runtime 2.14 from its own."""
    if request.param == NAMES[0]:
        python = sys.executable
    else:
        python = old_python(request.config.cache.mkdir("tflite-runtime"))
    made = Runtime(request.param, python, tmp_path_factory.mktemp(request.param))
    yield made
    made.close()


@pytest.fixture(params=[True, False], ids=["xnnpack", "builtin"])
def xnnpack(request):
    return request.param


@pytest.fixture
def export(tmp_path_factory):
    """Exports a program as TFLite into a new folder and gives the folder."""

    def run(program, name="random", digest="0" * 64):
        folder = tmp_path_factory.mktemp("export")
        TfliteExporter().export(ExportSource(program, None, name, digest), folder)
        return folder

    return run
