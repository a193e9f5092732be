"""Configuration files and what wins over what."""

from typing import Literal

import pytest

from edgesnn.config import StrictModel, find_profile, find_target, load_toml
from edgesnn.errors import ConfigError, UsageError


class Part(StrictModel):
    repeat: int = 1
    share: float = 0.5


class Whole(StrictModel):
    name: str
    mode: Literal["fast", "exact"] = "fast"
    part: Part = Part()
    parts: list[Part] = []
    sizes: tuple[int, ...] = ()
    extra: Part | None = None


@pytest.fixture
def load(tmp_path):
    def load_text(text):
        path = tmp_path / "some.toml"
        path.write_text(text)
        return load_toml(path, Whole)

    return load_text


def refused(load, text):
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert caught.value.exit_code == 2
    assert "some.toml" in caught.value.what
    return caught.value


def test_a_file_becomes_its_model(load):
    whole = load('name = "a"\nsizes = [1, 2]\n[part]\nrepeat = 3\nshare = 1\n[[parts]]\nrepeat = 4\n')
    assert whole == Whole(name="a", sizes=(1, 2), part=Part(repeat=3, share=1.0), parts=[Part(repeat=4)])


def test_an_unknown_key_is_named_with_its_line_its_path_and_the_nearest_key(load):
    error = refused(load, 'name = "a"\n\n[part]\nrepeatt = 3\n')
    assert "line 4: part.repeatt is no key" in error.what
    assert error.remedy == "did you mean 'repeat'?"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('name = "a"\n[[parts]]\nrepeat = 1\n[[parts]]\nrepeta = 1\n', "line 5: parts.1.repeta"),
        ('name = "a"\n[extra]\nrepeta = 1\n', "line 3: extra.repeta"),
        ('name = "a"\npart.repeta = 1\n', "line 2: part.repeta"),
        ('name = "a"\npart = { repeta = 1 }\n', "line 2: part.repeta"),
    ],
)
def test_an_unknown_key_is_found_wherever_it_stands(load, text, where):
    error = refused(load, text)
    assert where in error.what
    assert error.remedy == "did you mean 'repeat'?"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('part.repeat = "3"', "line 2: part.repeat: input should be a valid integer"),
        ("part.repeat = 3.5", "line 2: part.repeat: input should be a valid integer"),
        ("part.repeat = true", "line 2: part.repeat: input should be a valid integer"),
        ('mode = "quick"', "line 2: mode: input should be 'fast' or 'exact'"),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_what_was_found(load, line, what):
    error = refused(load, f'name = "a"\n{line}\n')
    assert what in error.what
    assert "found" in error.what


def test_a_missing_key_is_named(load):
    assert "name is missing" in refused(load, "").what


def test_all_problems_are_reported_at_once(load):
    error = refused(load, "mode = 1\nnam = 2\n")
    assert all(part in error.what for part in ("name is missing", "line 1: mode", "line 2: nam is no key"))


def test_a_syntax_error_has_its_line(load):
    assert "line 2" in refused(load, 'name = "a"\nx = = 1\n').actual


def test_a_file_that_is_not_there_or_no_text_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load_toml(tmp_path / "none.toml", Whole)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_toml(tmp_path / "binary.toml", Whole)


def test_a_shipped_target_is_found_by_name_and_a_file_by_its_path(tmp_path):
    assert find_target("cpu").name == "cpu.toml"
    own = tmp_path / "mine.toml"
    own.write_text("")
    assert find_target(str(own)) == own
    assert find_profile(str(own)) == own


def test_an_unknown_profile_or_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="there is no target 'cpuu'.*did you mean 'cpu'"):
        find_target("cpuu")
    with pytest.raises(ConfigError, match="there is no profile file"):
        find_profile(str(tmp_path / "none.toml"))
