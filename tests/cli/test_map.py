"""``edgesnn map``: 0 when a student fits a chip, 3 with every broken limit when it does not."""

import json

import pytest

from edgesnn import resources
from edgesnn.cli.main import run
from edgesnn.program.ops import LIF, Attend
from tests.support.bundles import shared_bundle

LOIHI2 = resources.folder("targets") / "chips" / "loihi2.toml"


def mapped(capsys, *arguments):
    """Exit code and document of ``map --json``."""
    code = run(["map", str(shared_bundle()), *map(str, arguments), "--json"])
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, json.loads(captured.out)


@pytest.fixture
def small_chip(tmp_path):
    """Loihi 2 with one core of 40 neurons that hears 20 axons."""
    text = (
        LOIHI2.read_text("utf-8")
        .replace("value = 8192", "value = 40")
        .replace("value = 120\n", "value = 1\n")
    )
    head, limit, tail = text.partition("[limits.axons_in_per_core]")
    path = tmp_path / "small.toml"
    path.write_text(head + limit + tail.replace("value = 4096", "value = 20", 1))
    return path


def test_a_student_that_fits_is_one_document_with_exit_code_0(capsys):
    code, document = mapped(capsys, "--chip", "loihi2", "--tokens", "8")
    assert code == 0
    assert document["schema"] == "edgesnn.map/1"
    assert document["fits"] is True and document["violations"] == [] and "error" not in document
    assert document["neurons"] == sum(part["neurons"] for part in document["populations"])
    assert document["synapses"] == sum(part["synapses"] for part in document["populations"])
    assert document["activity"]["work"]["tokens"] == 8
    assert document["energy"] is None and "published" in document["energy_reason"]
    assumed = document["chip"]["numbers"]["limits.axons_in_per_core"]
    assert (assumed["value"], assumed["status"]) == (4096, "ASSUMED") and assumed["source"]
    assert "not optimised" in document["placement"]


def test_attention_stands_apart_with_its_fast_weights(capsys):
    from edgesnn.bundle.bundle import Bundle

    program = Bundle(shared_bundle()).program()
    attends = list(program.all(Attend))
    _, document = mapped(capsys, "--chip", "loihi2", "--tokens", "0")
    assert document["activity"] is None
    assert [part["states"] for part in document["attentions"]] == [
        len(op.windows) * op.head_dim**2 * program.timesteps for op in attends
    ]
    lifs = sum(len(op.threshold) for op in program.all(LIF))
    assert sum(part["neurons"] for part in document["populations"] if part["kind"] == "lif") == lifs


def test_every_broken_limit_is_named_and_the_exit_code_is_3(capsys, small_chip):
    code, document = mapped(capsys, "--chip", small_chip, "--tokens", "0")
    assert code == 3
    assert document["fits"] is False
    broken = {violation["what"] for violation in document["violations"]}
    assert broken == {"axons into the core of one neuron", "cores"}
    assert all(violation["actual"] and violation["limit"] for violation in document["violations"])
    assert (document["error"]["code"], document["error"]["exit_code"]) == ("fit", 3)
    assert f"{len(document['violations'])} limits broken" in document["error"]["what"]


def test_loihi_1_has_no_neurons_for_attention_but_published_energies(capsys):
    code, document = mapped(capsys, "--chip", "loihi1", "--tokens", "4")
    assert code == 3
    assert any("attention" in violation["what"] for violation in document["violations"])
    energy = document["energy"]
    assert energy["kind"] == "ESTIMATED"
    assert energy["total_uj"] == pytest.approx(sum(energy["parts_uj"].values())) and energy["total_uj"] > 0
    assert energy["total_high_uj"] == pytest.approx(sum(energy["parts_high_uj"].values()))
    assert energy["parts_high_uj"]["synaptic operations"] == pytest.approx(
        energy["parts_uj"]["synaptic operations"] * 35.5 / 23.6
    )
    assert document["chip"]["numbers"]["energy_pj.synaptic_operation"]["high"] == 35.5
    run(["map", str(shared_bundle()), "--chip", "loihi1", "--tokens", "4"])
    assert " to " in capsys.readouterr().out.partition("energy per token: ")[2][:30]


def test_the_report_shows_what_is_estimated_and_assumed(capsys):
    assert run(["map", str(shared_bundle()), "--chip", "loihi2", "--tokens", "4"]) == 0
    shown = capsys.readouterr().out
    assert "fits" in shown and "does not fit" not in shown
    assert "of 120 ASSUMED" in shown and "for attention ESTIMATED" in shown
    assert "4,096 ASSUMED" in shown
    assert "ASSUMED limits.axons_out_per_core = 4096: not public" in shown
    assert "fast weights S += k v^T" in shown


def test_the_report_of_a_misfit_lists_every_limit(capsys, small_chip):
    assert run(["map", str(shared_bundle()), "--chip", str(small_chip), "--tokens", "0"]) == 3
    captured = capsys.readouterr()
    assert "does not fit" in captured.out
    assert "axons into the core of one neuron: " in captured.out and "chip: cores: " in captured.out
    assert captured.err.startswith("error: ") and "limit: " in captured.err


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [(("--chip", "lohi2"), "did you mean 'loihi2'"), (("--chip", "loihi2", "--tokens", "-1"), "--help")],
)
def test_a_wrong_command_is_a_usage_error(capsys, arguments, remedy):
    assert run(["map", str(shared_bundle()), *arguments, "--json"]) == 2
    assert remedy in json.loads(capsys.readouterr().out)["error"]["remedy"]


def test_no_bundle_is_a_user_error(capsys, tmp_path):
    assert run(["map", str(tmp_path), "--chip", "loihi2", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bundle"


def test_a_chip_file_that_cannot_be_is_a_usage_error_with_line_and_key(capsys, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text(LOIHI2.read_text("utf-8").replace("value = 8192", "value = 0"))
    code, document = mapped(capsys, "--chip", path)
    assert (code, document["error"]["code"]) == (2, "config")
    assert (
        "limits.neurons_per_core.value" in document["error"]["what"] and "line " in document["error"]["what"]
    )


def test_list_chips_says_what_is_unsure(edgesnn_here):
    items = {item["name"]: item for item in edgesnn_here("list", "chips", "--json").document["items"]}
    assert set(items) == {"loihi1", "loihi2"}
    assert items["loihi1"]["unsure"] == []
    assert "limits.axons_in_per_core" in items["loihi2"]["unsure"]
