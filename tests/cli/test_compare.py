"""compare, baseline and init as a user meets them."""

import json
import shutil

import pytest
import yaml
from jsonschema import validate

from edgesnn import compare_runs
from edgesnn.errors import RecordError
from edgesnn.record.files import write_run
from edgesnn.reports.comparing.result import compare_schema
from tests.support.patience import patience
from tests.support.run_documents import BUDGET_BYTES, Device, changed, run_of

BOARD = Device(documents=30)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Records: six of the same build, and one that lost a bit."""
    folder = tmp_path_factory.mktemp("runs")
    for number in range(6):
        created = f"2026-01-{number + 1:02d}T00:00:00+00:00"
        write_run(run_of(BOARD, number, created=created), folder / f"run-{number}.json")
    worse = changed(BOARD, mismatches=1, model_bytes=BUDGET_BYTES + 1)
    write_run(run_of(worse, 9, created="2026-02-01T00:00:00+00:00"), folder / "worse.json")
    return folder


def five(runs):
    return [runs / f"run-{number}.json" for number in range(5)]


def test_the_gate_passes_the_same_build_and_stops_a_lost_bit(edgesnn, runs, tmp_path):
    assert edgesnn("baseline", "update", *five(runs)).exit_code == 0
    same = edgesnn("compare", "baselines", runs / "run-5.json", "--json")
    assert same.exit_code == 0
    validate(same.document, compare_schema())
    worse = edgesnn(
        "compare", "baselines", runs / "worse.json",
        "--markdown", "out/a.md", "--junit", "out/a.xml", "--bencher", "out/b.json",
        "--benchmark-action", "out/s.json",
    )  # fmt: skip
    assert worse.exit_code == 3
    assert "parity.mismatches" in worse.stdout
    assert "REGRESSION" in worse.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.md", "a.xml", "b.json", "s.json"]
    assert edgesnn("baseline", "show", "--json").document["baselines"][0]["sessions"] == 5


def test_a_record_is_compared_with_a_record_or_with_a_folder_of_them(edgesnn_here, runs, tmp_path):
    assert edgesnn_here("compare", runs / "run-0.json", runs / "run-1.json").exit_code == 0
    good = tmp_path / "good"
    good.mkdir()
    for path in five(runs):
        shutil.copy(path, good)
        shutil.copy(path.with_suffix(".npz"), good)
    (good / "notes.json").write_text("{}")
    found = edgesnn_here("compare", good, runs / "worse.json", "--json")
    assert found.exit_code == 3
    assert found.document["targets"][0]["mode"] == "sessions"


SPOILT = {
    "not JSON": lambda path: path.write_text(path.read_text()[:900]),
    "of this version": lambda path: path.write_text(
        path.read_text().replace("edgesnn.run/1", "edgesnn.run/2")
    ),
    "was changed": lambda path: path.with_suffix(".npz").write_bytes(b"PK"),
    "missing": lambda path: path.with_suffix(".npz").unlink(),
}


@pytest.mark.parametrize("says", SPOILT)
def test_a_record_that_is_not_what_it_was_is_refused(runs, tmp_path, says):
    for name in ("run-0.json", "run-0.npz"):
        shutil.copy(runs / name, tmp_path)
    path = tmp_path / "run-0.json"
    SPOILT[says](path)
    with pytest.raises(RecordError, match=says):
        compare_runs(runs / "run-1.json", [path])


def test_a_first_run_without_baseline_says_how_to_make_one(edgesnn_here, runs):
    found = edgesnn_here("compare", "baselines", runs / "run-0.json")
    assert found.exit_code == 2
    assert "edgesnn baseline update" in found.stderr


def test_a_failed_run_is_no_baseline(edgesnn_here, runs):
    assert edgesnn_here("baseline", "update", runs / "worse.json").exit_code == 1
    assert edgesnn_here("baseline", "update", runs / "worse.json", "--force").exit_code == 0


def test_the_pytest_plugin_asserts_budgets_and_comparisons(runs, tmp_path, pytester_run):
    smaller = tmp_path / "smaller.json"
    write_run(run_of(changed(BOARD, model_bytes=BUDGET_BYTES - 1), 3), smaller)
    found = pytester_run(
        f"""
        def test_budgets(edgesnn_run):
            edgesnn_run.assert_budgets()

        def test_limits(edgesnn_run):
            edgesnn_run.assert_below("parity.mismatches", 1)
            edgesnn_run.assert_above("accuracy.top1", 0.1)

        def test_gate(edgesnn_run):
            edgesnn_run.assert_not_worse_than({str(runs / "run-0.json")!r})

        def test_too_high(edgesnn_run):
            edgesnn_run.assert_below("accuracy.top1", 0.01)

        def test_worse(edgesnn_run):
            edgesnn_run.assert_not_worse_than({str(smaller)!r})
        """,
        "--edgesnn-record",
        runs / "run-1.json",
    )
    assert "3 passed" in found
    assert "2 failed" in found
    assert "not < 0.01" in found
    assert "size.model regression" in found


def test_the_pytest_plugin_lets_an_invalid_run_decide_nothing(runs, tmp_path, pytester_run):
    raw = json.loads((runs / "run-1.json").read_text())
    raw["verdict"] |= {"verdict": "INVALID", "exit_code": 4, "reasons": ["two windows answered differently"]}
    (runs / "invalid.json").write_text(json.dumps(raw))
    found = pytester_run(
        f"""
        def test_below(edgesnn_run):
            edgesnn_run.assert_below("parity.mismatches", 1)

        def test_above(edgesnn_run):
            edgesnn_run.assert_above("accuracy.top1", 0.1)

        def test_gate(edgesnn_run):
            edgesnn_run.assert_not_worse_than({str(runs / "run-0.json")!r})
        """,
        "--edgesnn-record",
        runs / "invalid.json",
    )
    assert "3 failed" in found
    assert found.count("two windows answered differently") >= 2


def test_the_pytest_plugin_says_what_is_wrong_in_one_line(runs, tmp_path, pytester_run):
    (tmp_path / "empty").mkdir()
    found = pytester_run(
        """
        def test_no_baselines(edgesnn_run):
            edgesnn_run.assert_not_worse_than("empty")

        def test_no_folder(edgesnn_run):
            edgesnn_run.assert_not_worse_than("nothing.json")

        def test_unknown(edgesnn_run):
            edgesnn_run.assert_below("latency.p42", 50.0)

        def test_no_limit(edgesnn_run):
            edgesnn_run.assert_below("parity.mismatches", float("nan"))
        """,
        "--edgesnn-record",
        runs / "run-1.json",
    )
    assert "4 failed" in found
    assert "Traceback" not in found and "pytest_plugin.py" not in found and "another exception" not in found
    assert "holds no baseline yet" in found and "no quantity 'latency.p42'" in found


#: A profile that says when it was made and is slow enough to meet another one.
PROFILED = """
import os, pathlib, time
import pytest
import edgesnn.api.profiling
from edgesnn.errors import DeviceError
from edgesnn.record.files import read_run

def profile_bundle(bundle, *, target, **_):
    log = pathlib.Path(__file__).with_name("log")
    with log.open("a") as out:
        out.write(f"begin {target}\\n")
    time.sleep(0.3)
    with log.open("a") as out:
        out.write(f"end {target}\\n")
    if target == "broken":
        raise DeviceError("the device is on fire")
    return read_run(pathlib.Path(RECORD))

edgesnn.api.profiling.profile_bundle = profile_bundle
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "two workers"])
def test_a_bundle_is_profiled_once_however_many_workers_ask(runs, tmp_path, pytester_run, workers):
    if workers:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    record = f"RECORD = {str(runs / 'run-0.json')!r}\n"
    (tmp_path / "conftest.py").write_text(record + PROFILED)
    found = pytester_run(
        """
        import pytest

        @pytest.mark.parametrize("number", range(6))
        @pytest.mark.edgesnn(bundle="bundle", target="cpu")
        def test_one(edgesnn_run, number):
            edgesnn_run.assert_budgets()

        @pytest.mark.parametrize("number", range(4))
        @pytest.mark.edgesnn(bundle="./bundle")
        def test_the_same(edgesnn_run, number):
            edgesnn_run.assert_below("parity.mismatches", 1)

        @pytest.mark.parametrize("number", range(4))
        @pytest.mark.edgesnn(bundle="bundle", target="native")
        def test_another(edgesnn_run, number):
            edgesnn_run.assert_budgets()

        @pytest.mark.parametrize("number", range(4))
        @pytest.mark.edgesnn(bundle="bundle", target="broken")
        def test_broken(edgesnn_run, number):
            edgesnn_run.assert_budgets()
        """,
        *workers,
    )
    assert "14 passed" in found and "4 errors" in found and "the device is on fire" in found, found
    log = (tmp_path / "log").read_text().splitlines()
    targets = [line.split()[1] for line in log[::2]]
    assert log == [f"{word} {target}" for target in targets for word in ("begin", "end")]
    if workers:
        assert sorted(targets) == ["broken", "cpu", "native"]


@pytest.fixture
def pytester_run(tmp_path):
    """Runs a test file in a pytest of its own with the plug-in, and gives its output."""
    import os
    import subprocess
    import sys
    import textwrap
    from pathlib import Path

    def run(source, *arguments):
        (tmp_path / "test_gate.py").write_text(textwrap.dedent(source))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_gate.py"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTEST_PLUGINS": ""}
        plug = [] if _installed() else ["-p", "edgesnn.integrations.pytest_plugin"]
        if "-n" in arguments:  # every worker would load whatever else is installed
            environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
            plug = ["-p", "edgesnn.integrations.pytest_plugin", "-p", "xdist"]
        finished = subprocess.run(
            [*command, *plug, *map(str, arguments)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=patience(),
        )  # fmt: skip
        return finished.stdout + finished.stderr

    return run


def _installed():
    from importlib.metadata import entry_points

    return any(
        point.value == "edgesnn.integrations.pytest_plugin" for point in entry_points(group="pytest11")
    )


def test_the_documents_of_the_action_parse():
    from pathlib import Path

    action = yaml.safe_load((Path(__file__).parents[2] / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"]  # what a caller passes never becomes part of a script
    assert json.dumps(action["inputs"])
