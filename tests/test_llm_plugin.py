"""The plug-in for the program ``llm``, which runs in an environment of its own."""

import json
import os
import subprocess
import sys

import pytest

from edgesnn import generate_text
from tests.conftest import ROOT
from tests.support.bundles import shared_bundle
from tests.support.patience import patience

PYTHON = ROOT / ".foreign/llm/bin/python"
pytestmark = pytest.mark.skipif(not PYTHON.is_file(), reason="the program llm is not installed in .foreign")


@pytest.fixture(scope="module")
def folder():
    return shared_bundle()


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    """Runs the program with this plug-in alone and a place of its own for what was said."""
    place = tmp_path_factory.mktemp("user")
    # an editable installation may be older than the entry point: its facts are written here once more
    facts = place / "edgesnn_here-0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: edgesnn_here\nVersion: 0\n")
    (facts / "entry_points.txt").write_text("[llm]\nedgesnn = edgesnn.integrations.llm_plugin\n")
    settings = {
        "LLM_USER_PATH": str(place),
        "LLM_LOAD_PLUGINS": "edgesnn_here",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(place)]),
    }

    def run(*arguments, code=0):
        done = subprocess.run(
            [PYTHON, "-m", "llm", *map(str, arguments)],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=patience(120),
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done.stdout.rstrip("\n") if code == 0 else done.stderr

    return run


def test_it_gives_the_text_that_edgesnn_gives_streamed_and_not(llm, folder):
    wanted = str(generate_text(folder, "What is on my desk?", max_tokens=24)).rstrip("\n")
    asked = ("-m", "edgesnn/reference", "-o", "model", folder, "-o", "max_tokens", 24, "What is on my desk?")
    assert llm(*asked) == wanted
    assert llm(*asked, "--no-stream") == wanted


def test_a_conversation_goes_on_in_another_process_and_its_tokens_are_counted(llm, folder):
    first = llm("-m", "edgesnn", "-o", "model", folder, "-o", "max_tokens", 8, "-s", "Be short.", "Hello")
    second = llm("-c", "-o", "model", folder, "-o", "max_tokens", 8, "And you?")
    logged = json.loads(llm("logs", "-n", 2, "--json"))
    assert [entry["prompt"] for entry in logged] == ["Hello", "And you?"]
    assert [entry["response"].rstrip("\n") for entry in logged] == [first, second]
    assert logged[0]["conversation_id"] == logged[1]["conversation_id"]
    assert [entry["output_tokens"] for entry in logged] == [8, 8]
    assert logged[1]["input_tokens"] > logged[0]["input_tokens"] + 8 > 8


def test_what_is_wrong_is_said_in_a_sentence(llm, tmp_path):
    said = llm("-m", "edgesnn", "-o", "model", tmp_path / "none", "Hello", code=1)
    assert "none" in said and "Traceback" not in said


def test_edgesnn_itself_never_imports_it():
    code = "import sys, edgesnn; dir(edgesnn); edgesnn.SNNLLMBackend; sys.exit('llm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=patience(60), check=False).returncode == 0
