"""Every example of docs/api.md runs, on the reference student."""

import doctest
import inspect
from importlib.util import find_spec

import pytest

import edgesnn
from edgesnn import config
from edgesnn.api import students
from edgesnn.cli.api_page import split_docstring
from tests.support.nir_files import recorded

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
TRAINING = {"train_student", "SNNDistillationTrainer"}
#: About a student of version 1.0, which torch makes here.
OLD = {"read_v1_student", "V1ExportOptions", "verify_v1_bundle", "upgrade_student"}
#: What `quick` asks for, and less of it: an example shows a call, not a measurement.
QUICK = """
schema = "edgesnn.profile/1"
name = "quick"
[workload]
prompt_tokens = 4
windows = 2
min_window_seconds = 0.0
min_window_tokens = 8
warmup_tokens = 2
first_tokens = 2
activity_tokens = 16
memory_probes = 0
parity_tokens = 16
accuracy_tokens = 100
[budgets]
parity_mismatches = { limit = 0.0, required = true }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder that the page speaks of: the reference's bundle, a run of it, an old student, NIR."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "quick.toml").write_text(QUICK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(students, "CALIBRATION_TOKENS", 100)
        bundle = edgesnn.export_student("reference", folder / "bundle", "onnx")
    edgesnn.profile_bundle(bundle, profile=folder / "quick.toml", output=folder / "run.json", compare=False)
    for part in (".nir", ".npz"):
        recorded("snntorch-zero", folder).with_suffix(part).rename(folder / f"wake{part}")
    if find_spec("torch") is not None:
        from tests.support.v1_students import glasses_text, glasses_tokenizer, make_old, save_old

        old = save_old(make_old(320, dim=16, depth=1, heads=2), folder / "old", max_length=16)
        glasses_tokenizer(320).save(old / "tokenizer.json")
        (old / "text.txt").write_text("\n".join(glasses_text()[:80]))
        edgesnn.export_student(old, folder / "v1_bundle")
    return folder


@pytest.fixture
def there(folder, monkeypatch):
    shipped, quick = config.files, {"quick": folder / "quick.toml"}
    monkeypatch.setattr(
        config, "files", lambda *kind: {**shipped(*kind), **(quick if kind == ("profiles",) else {})}
    )
    monkeypatch.setattr(students, "CALIBRATION_TOKENS", 100)
    monkeypatch.chdir(folder)


def examples():
    for name in edgesnn.PUBLIC:
        described = getattr(edgesnn, name)
        yield name, described
        if inspect.isclass(described):
            for method, member in inspect.getmembers(described, inspect.isfunction):
                if "Examples:" in (member.__doc__ or ""):
                    yield f"{name}.{method}", member


@pytest.mark.parametrize(("name", "described"), [pytest.param(*one, id=one[0]) for one in examples()])
def test_an_example_gives_what_it_shows(name, described, there):
    if name in TRAINING | OLD and find_spec("torch") is None:
        pytest.skip("torch is not installed: pip install 'edgesnn[train]'")
    _, sections = split_docstring(described)
    assert "Examples" in sections, "a public name has an example"
    shown = doctest.DocTestParser().get_doctest(
        sections["Examples"] + "\n", {"edgesnn": edgesnn}, name, inspect.getsourcefile(described), 0
    )
    assert shown.examples
    said = []
    doctest.DocTestRunner(optionflags=FLAGS).run(shown, out=said.append)
    assert not said, "".join(said)
