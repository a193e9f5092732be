"""``import edgesnn`` as a notebook meets it: dir(), help(), completion, nothing heavy before it is needed."""

import ast
import inspect
import pydoc
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import edgesnn
from edgesnn.api.options import ProfileSettings
from edgesnn.cli.api_page import COMMANDS
from edgesnn.cli.main import COMMANDS as SHELL
from edgesnn.errors import UsageError

ROOT = Path(__file__).parents[3]
#: Commands that join others or write files of a repository.
SHELL_ONLY = {"demo", "doctor", "flash", "help", "init", "sample", "serve", "sign"}


def test_importing_and_listing_load_nothing_heavy():
    code = "import sys, edgesnn; dir(edgesnn); print({'numpy', 'pydantic', 'torch'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "set()\n"


def test_dir_and_all_name_every_public_name_and_each_is_there():
    assert set(dir(edgesnn)) == set(edgesnn.__all__) == {"__version__", *edgesnn.PUBLIC}
    for name in edgesnn.PUBLIC:
        assert getattr(edgesnn, name).__name__ == name


def test_type_checkers_read_the_same_table():
    tree = ast.parse((ROOT / "edgesnn" / "__init__.py").read_text("utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    static = {one.names[0].asname: one.module for one in block.body}
    assert static == {name: f"edgesnn.{module}" for name, (module, _) in edgesnn.PUBLIC.items()}


def test_help_lists_the_names_and_shows_the_functions_with_their_docstrings():
    text = pydoc.render_doc(edgesnn, renderer=pydoc.plaintext)
    head, functions = text.split("\nFUNCTIONS\n")[0], text.split("\nFUNCTIONS\n")[1]
    for name, (_, line) in edgesnn.PUBLIC.items():
        assert f"{name} " in head and line in head
        if inspect.isfunction(getattr(edgesnn, name)):
            assert f"\n    {name}(" in f"\n{functions}"
    assert "Measure a bundle on a target and judge it by a profile." in functions


def test_a_slip_of_the_pen_is_an_attribute_error_that_names_the_nearest(capsys):
    with pytest.raises(AttributeError, match="no attribute 'open_bundel'") as met:
        edgesnn.open_bundel  # noqa: B018
    assert met.value.name == "open_bundel" and met.value.obj is edgesnn


def test_every_command_of_the_shell_has_a_function_or_is_said_to_have_none():
    assert set(COMMANDS) == set(SHELL) - SHELL_ONLY
    assert {name for names in COMMANDS.values() for name in names} <= set(edgesnn.PUBLIC)


def test_settings_are_the_fields_of_the_options():
    options = {field.name: field.type for field in fields(edgesnn.ProfileOptions)}
    assert {name: kind.__forward_arg__ for name, kind in ProfileSettings.__annotations__.items()} == options


@pytest.mark.parametrize("name", ["profile_bundle", "profile_all", "profile_interleaved"])
def test_completion_sees_every_setting_of_a_profile(name):
    shown = inspect.signature(getattr(edgesnn, name)).parameters
    assert {field.name for field in fields(edgesnn.ProfileOptions)} < set(shown)
    assert shown["profile"].default == "smartglass"


@pytest.mark.parametrize(
    "setting",
    [{"threads": 0}, {"windows": 0}, {"min_window_seconds": -1.0}, {"reference_timeout_s": float("nan")}],
)
def test_a_number_out_of_range_is_refused_when_the_options_are_made(setting):
    with pytest.raises(UsageError, match="out of range"):
        edgesnn.ProfileOptions(**setting)


def test_settings_win_over_options_and_an_unknown_one_is_refused(tmp_path):
    options = edgesnn.ProfileOptions(target="nosuch")
    with pytest.raises(UsageError, match="nosuch"):
        edgesnn.profile_bundle(tmp_path, options)
    with pytest.raises(UsageError, match="other"):
        edgesnn.profile_bundle(tmp_path, options, target="other")
    with pytest.raises(TypeError, match="tagret"):
        edgesnn.profile_bundle(tmp_path, tagret="cpu")


@pytest.mark.parametrize(
    ("call", "setting"),
    [
        (lambda **s: edgesnn.profile_all("nowhere", **s), {"target": "native"}),
        (lambda **s: edgesnn.profile_all("nowhere", **s), {"output": "run.json"}),
        (lambda **s: edgesnn.profile_interleaved("nowhere", "nowhere", **s), {"meter": "sim:ppk2"}),
    ],
)
def test_what_makes_no_sense_for_a_kind_of_profile_is_refused_before_anything_runs(call, setting):
    with pytest.raises(UsageError, match=f"take.? no {next(iter(setting))}"):
        call(**setting)


def test_an_output_that_cannot_be_is_refused_before_measuring(tmp_path):
    with pytest.raises(edgesnn.EdgesnnError, match=r"mine\.txt"):
        edgesnn.profile_bundle(tmp_path / "nowhere", output=tmp_path / "mine.txt")
