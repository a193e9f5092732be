"""Chip files: every number sourced, every mistake named with file, key and remedy."""

import pytest

from edgesnn import resources
from edgesnn.chips.description import load_chip
from edgesnn.chips.energy import load_energy_table
from edgesnn.errors import ConfigError, UsageError
from edgesnn.resources import files

TEXT = (resources.folder("targets") / "chips" / "loihi2.toml").read_text("utf-8")


@pytest.mark.parametrize("name", files("targets", "chips"))
def test_a_shipped_chip_is_the_file_of_its_name_and_every_number_has_a_source(name):
    chip = load_chip(name)
    assert chip.name == name
    assert all(len(number.source) > 10 for number in chip.numbers().values())


def test_loihi_2_has_no_published_energy_and_says_which_limits_are_assumed():
    chip = load_chip("loihi2")
    assert chip.energy_pj is None and "published" in chip.energy_reason
    assert {"limits.axons_in_per_core", "limits.axons_out_per_core"} <= set(chip.unsure())
    assert "limits.neurons_per_core" not in chip.unsure()


def test_loihi_1_has_the_energies_of_its_paper():
    chip = load_chip("loihi1")
    energies = {key: number.value for key, number in chip.numbers().items() if key.startswith("energy")}
    assert list(energies.values()) == [23.6, 81.0, 52.0, 1.7]


def test_the_energy_table_is_the_file_of_its_name_and_every_number_has_a_source():
    table = load_energy_table()
    assert table.name == "horowitz-45nm"
    assert all("Horowitz" in number.source for number in table.numbers().values())
    assert len(table.numbers()) == 6


@pytest.mark.parametrize(("typed", "meant"), [("lohi2", "loihi2"), ("Loihi2", "loihi2"), ("truenorth", None)])
def test_an_unknown_chip_is_a_usage_error_that_names_the_nearest(typed, meant):
    with pytest.raises(UsageError, match=f"there is no chip '{typed}'") as caught:
        load_chip(typed)
    assert (meant or "known: loihi1, loihi2") in caught.value.remedy


def test_a_path_is_a_chip_too(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(TEXT.replace('name = "loihi2"', 'name = "mine"'))
    assert load_chip(str(path)).name == "mine"


def test_a_path_without_a_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no chip file '.*gone\.toml'"):
        load_chip(str(tmp_path / "gone.toml"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("value = 8192", "value = 0", "neurons_per_core.value: input should be greater than or equal to 1"),
        ("value = 8192", "value = -5", "(found -5)"),
        ("value = 8192", 'value = "many"', "valid integer"),
        ("value = 8192", "value = 81.5", "valid integer"),
        ("value = 8192", "value = 9_000_000_000_000", "less than or equal to 1099511627776"),
        ("value = 32\n", "value = 65\n", "message_bits.value: input should be less than or equal to 64"),
        ("value = true", "value = 1", "valid boolean"),
        ('status = "PUBLISHED"', 'status = "GUESSED"', "'MEASURED', 'PUBLISHED', 'ESTIMATED' or 'ASSUMED'"),
        ("value = 8192", "", "limits.neurons_per_core.value is missing"),
        ("[limits.weight_bits]", "[limits.weight_bit]", "did you mean 'weight_bits'"),
        ('source = "not public', 'sauce = "not public', "source is missing"),
        ('schema = "edgesnn.chip/1"', 'schema = "edgesnn.chip/9"', "edgesnn.chip/1"),
        ("energy_reason", "# energy_reason", "either the table energy_pj or energy_reason"),
    ],
)
def test_a_wrong_value_is_named_with_file_key_value_and_remedy(tmp_path, old, new, words):
    assert old in TEXT
    path = tmp_path / "wrong.toml"
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_chip(str(path))
    sentence = caught.value.sentence()
    assert words in sentence
    assert "wrong.toml" in sentence
    assert caught.value.remedy
    assert caught.value.exit_code == 2


def test_all_mistakes_of_a_file_are_named_at_once(tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text(TEXT.replace("value = 8192", "value = 0").replace("value = 32\n", "value = 99\n"))
    with pytest.raises(ConfigError, match=r"neurons_per_core.*message_bits"):
        load_chip(str(path))
