"""The entry-point loader, against packages that a test puts on the path."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from edgesnn import plugins
from edgesnn.errors import MissingExtraError, PluginError, UsageError

ROOT = Path(__file__).parents[3]

GOOD = """
class Twice:
    name = "twice"
    summary = "a plug-in of a test"

    @classmethod
    def missing(cls):
        return None

    def export(self, source, folder):
        return None
"""


@pytest.fixture(autouse=True)
def read_anew():
    """What was read of the installed packages holds for one test."""
    plugins._declared.cache_clear()
    yield
    plugins._declared.cache_clear()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a package with entry points on the import path, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = []

    def install_package(package, code, entries, group=plugins.EXPORTERS):
        (tmp_path / f"{package}_module.py").write_text(code)
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {package}_module:{value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]) + "\n")
        modules.append(f"{package}_module")
        plugins._declared.cache_clear()

    yield install_package
    for module in modules:
        sys.modules.pop(module, None)


def test_a_plugin_of_another_package_loads_by_its_name(install):
    install("other", GOOD, {"twice": "Twice"})
    assert plugins.load_exporter("twice").summary == "a plug-in of a test"
    assert plugins.Plugin("twice", "other_module:Twice", "other") in plugins.available(plugins.EXPORTERS)


def test_naming_the_plugins_imports_none_of_them(install):
    install("other", "raise RuntimeError('imported')", {"twice": "Twice"})
    assert "twice" in plugins.names(plugins.EXPORTERS)
    assert "other_module" not in sys.modules


def test_a_plugin_that_fails_to_load_is_listed_with_its_reason(install):
    install("other", "raise RuntimeError('no such chip')", {"broken": "Twice"})
    listed = {plugin.name: plugin for plugin in plugins.available(plugins.EXPORTERS)}
    assert "no such chip" in listed["broken"].error
    assert "other" in listed["broken"].error


def test_loading_a_broken_plugin_names_its_package_and_the_cause(install):
    install("other", "import a_package_that_is_not_there", {"broken": "Twice"})
    with pytest.raises(PluginError, match="package 'other'") as caught:
        plugins.load_exporter("broken")
    assert "a_package_that_is_not_there" in caught.value.actual
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_plugin_that_says_which_extra_it_misses_keeps_its_own_error(install):
    code = "from edgesnn.errors import missing_extra\nraise missing_extra('lava', 'loihi', 'the runner')"
    install("other", code, {"broken": "Twice"})
    with pytest.raises(MissingExtraError, match="lava"):
        plugins.load_exporter("broken")


@pytest.mark.parametrize(
    ("code", "found"),
    [("Twice = 3", "a int|lacks"), ("class Twice:\n    name = 'x'", "lacks summary, missing, export")],
)
def test_a_plugin_without_the_contract_is_refused(install, code, found):
    install("other", code, {"odd": "Twice"})
    with pytest.raises(PluginError, match="is no exporter") as caught:
        plugins.load_exporter("odd")
    assert any(part in caught.value.actual for part in found.split("|"))


def test_an_unknown_name_is_a_usage_error_that_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'golden'"):
        plugins.load_runner("goldn")


def test_two_packages_with_one_name_are_an_error_that_names_both(install):
    install("first", GOOD, {"twice": "Twice"})
    install("second", GOOD, {"twice": "Twice"})
    with pytest.raises(PluginError, match="'first'.*'second'|'second'.*'first'"):
        plugins.load_exporter("twice")
    listed = [plugin for plugin in plugins.available(plugins.EXPORTERS) if plugin.name == "twice"]
    assert [plugin.error is not None for plugin in listed] == [True, True]


def test_the_builtins_come_through_the_same_door():
    assert {"golden", "onnxruntime", "onnxruntime-fp32"} <= set(plugins.names(plugins.RUNNERS))
    assert {"onnx", "onnx-fp32"} <= set(plugins.names(plugins.EXPORTERS))


def test_a_checkout_that_was_never_installed_reads_the_table_of_its_project(monkeypatch):
    def not_installed(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", not_installed)
    monkeypatch.setattr(metadata, "entry_points", lambda group: ())
    assert "golden" in plugins.names(plugins.RUNNERS)
    assert plugins.names("edgesnn.nothing") == []


@pytest.mark.parametrize("group", [plugins.RUNNERS, plugins.EXPORTERS, plugins.METERS])
def test_every_builtin_loads_and_has_the_name_of_its_entry_point(group):
    for plugin in plugins.available(group):
        if plugin.distribution == plugins.DISTRIBUTION:
            assert plugin.error is None
            assert plugins.load(group, plugin.name).name == plugin.name


def test_naming_the_runners_loads_no_engine():
    code = (
        "import sys; from edgesnn import plugins; plugins.names(plugins.RUNNERS); "
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'numpy'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert finished.stdout.strip() == "[]"
