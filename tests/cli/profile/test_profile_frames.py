"""``edgesnn profile`` on networks that read frames, alone and in front of a language model."""

import json
import sys
from pathlib import Path

import pytest

from edgesnn.cli.main import run
from edgesnn.record.files import read_run
from tests.support.bundles import shared_bundle
from tests.support.wake_networks import LENGTH, held_out, wake_bundle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="twins need pseudo-terminals")

SHORT = """
schema = "edgesnn.profile/1"
name = "short"
[workload]
windows = 2
min_window_seconds = 0.0
metered_window_seconds = 0.1
idle_seconds = 0.1
memory_probes = 0
"""
FRAMES = f"""{SHORT}
kind = "frames"
frames_per_second = 10.0
min_window_frames = 8
[budgets]
always_on_mw = {{ limit = 1000.0, required = true }}
"""
CASCADE = f"""{SHORT}
kind = "prompt"
prompt_tokens = 4
generated_tokens = 2
context = 1
min_window_tokens = 8
first_tokens = 0
activity_tokens = 0
parity_tokens = 1
accuracy_tokens = 0
[cascade]
frames_per_second = 10.0
events_per_hour = 1.0
[budgets]
cascade_mw = {{ limit = 1000.0, required = true }}
[cell]
voltage_v = 3.7
capacity_mah = 150.0
"""
METER = "sim:ina228"


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    (tmp_path / "frames.toml").write_text(FRAMES)
    (tmp_path / "cascade.toml").write_text(CASCADE)
    wake_bundle(tmp_path / "wake", windows=held_out(200, flipped=0.1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGESNN_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("COLUMNS", "200")


def profile(*words):
    return run(["profile", *map(str, words), "--target", "golden", "-o", "run.json"])


def test_a_simulated_meter_gives_energy_of_frames_and_decisions(capsys):
    code = profile("wake", "--profile", "frames.toml", "--meter", METER)
    text = capsys.readouterr().out
    found = read_run(Path("run.json")).record
    energies = [found.quantities[f"energy.per_{what}"] for what in ("frame", "decision")]
    assert energies[1].value == pytest.approx(LENGTH * energies[0].value)
    assert {one.kind.value for one in (*energies, found.quantities["duty.power"])} == {"SIMULATED"}
    assert code == 6  # a simulation decides nothing
    assert "energy per frame" in text and "energy per decision" in text and "mW SIMULATED" in text
    assert "token" not in text


def test_a_wake_network_in_front_of_a_language_model(capsys):
    words = (shared_bundle(), "--cascade", "wake", "--profile", "cascade.toml", "--meter", METER)
    assert profile(*words) == 6
    text = capsys.readouterr().out
    record = read_run(Path("run.json")).record
    assert "cascade: a wake network, and the answers that it asks for" in text
    found = {name: record.quantities[f"cascade.{name}"] for name in ("wake_power", "answers_power", "power")}
    assert found["power"].value == pytest.approx(found["wake_power"].value + found["answers_power"].value)
    assert {one.kind.value for one in found.values()} == {"SIMULATED"}
    assert record.cascade.events + record.cascade.others == 200
    assert record.cascade.quantities["frame.p50"].value > 0
    assert run(["report", "run.json", "--html", "page.html"]) == 0
    assert ">Cascade<" in Path("page.html").read_text(encoding="utf-8")


def test_without_a_meter_it_says_how_often_it_wakes(capsys):
    assert (
        profile(shared_bundle(), "--cascade", "wake", "--profile", "cascade.toml", "--allow-unmeasured") == 0
    )
    found = read_run(Path("run.json")).record.quantities
    assert found["cascade.answers_per_hour"].value > 0
    assert found["cascade.power"].reason == "no meter was given"
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--cascade", "wake", "--profile", "quick"), "says nothing of a cascade"),
        (("--cascade", "{student}", "--profile", "cascade.toml"), "a wake network reads frames"),
    ],
)
def test_a_cascade_that_cannot_be_is_one_clear_error(capsys, words, message):
    student = shared_bundle()
    code = profile(student, *(word.format(student=student) for word in words), "--json")
    error = json.loads(capsys.readouterr().out)["error"]
    assert code == 2
    assert message in error["what"]


def test_a_cascade_belongs_to_one_record(capsys):
    assert (
        run(["profile", "wake", "wake", "--interleave", "--cascade", "wake", "--profile", "frames.toml"]) == 2
    )
    assert "take no cascade" in capsys.readouterr().err
