"""How runs, bundles and texts show themselves, and that each verb takes a path or an open bundle."""

import os
import re
import sys

import pytest

import edgesnn
from edgesnn.api.runs import shown
from edgesnn.errors import MissingExtraError, RecordError
from edgesnn.text.generate import GeneratedToken
from tests.support.bundles import shared_bundle
from tests.support.run_documents import Device, run_of

HOSTILE = '<script>alert("x")</script>'


class Folder:
    """A path that is neither a string nor a Path."""

    def __init__(self, path):
        self._path = path

    def __fspath__(self):
        return os.fspath(self._path)


@pytest.fixture
def run():
    return shown(run_of(Device(model=HOSTILE, mismatches=3), seed=1))


@pytest.mark.parametrize("kind", [str, Folder, edgesnn.open_bundle])
def test_every_verb_takes_a_path_of_any_kind_or_an_open_bundle(kind):
    given = kind(shared_bundle())
    assert edgesnn.open_bundle(given).path == shared_bundle()
    assert edgesnn.parity_targets(given)["golden"] is None
    assert edgesnn.verify_bundle(given, "golden", tokens=4)[0].mismatches == 0
    assert edgesnn.map_bundle(given, "loihi2", tokens=0).text is None
    assert str(edgesnn.generate_text(given, "hello", target="golden", max_tokens=2)) is not None


def test_a_bundle_says_in_one_line_what_it_is():
    bundle = edgesnn.open_bundle(shared_bundle())
    text = repr(bundle)
    assert text.startswith(f"<Bundle '{bundle.name}' in ") and "\n" not in text
    assert bundle.manifest.program_hash[:12] in text and text.endswith("formats onnx, onnx-fp32>")


def test_a_run_says_in_a_few_lines_what_it_found(run):
    lines = repr(run).splitlines()
    assert len(lines) < 10 and max(map(len, lines)) < 130
    assert (
        lines[0].startswith("<Run: FAIL (exit code 3), ") and " on board, native 1, profile gate" in lines[0]
    )
    assert "  mismatches with golden: 3 logits>" in lines
    assert "  model files: 1 MB" in lines


def test_a_run_shows_its_verdict_and_budgets_to_a_notebook_and_escapes_what_it_was_told(run):
    html = run._repr_html_()
    assert "FAIL" in html and "parity_mismatches" in html
    assert "<script" not in html and "&lt;script&gt;" in html


def test_the_style_of_a_run_ends_with_its_element(run):
    """Every rule stands inside the one of the run's own class: the notebook around it keeps its own."""
    html = run._repr_html_()
    sheet = html[html.index("<style>") + 7 : html.index("</style>")]
    assert html.startswith('<div class="edgesnn-run">') and sheet.startswith(".edgesnn-run {")
    depth, outside = 0, []
    for sign in re.finditer(r"[{}]", sheet):
        depth += 1 if sign[0] == "{" else -1
        if depth == 0:
            outside.append(sign.end())
    assert outside == [len(sheet.rstrip())] and ":root" not in sheet


def test_a_run_is_drawn_as_a_figure_that_a_notebook_shows(run):
    pytest.importorskip("matplotlib")
    run = shown(run_of(Device(), seed=1))
    run = edgesnn.Run(run.record, {**run.arrays, "per_token_ms": run.arrays["window_00_latencies_ms"]})
    figure = run.plot(base=run)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Latency (SIMULATED)"]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_a_run_without_arrays_has_nothing_to_draw(run):
    pytest.importorskip("matplotlib")
    with pytest.raises(RecordError, match="nothing to draw"):
        run.plot()


def test_without_matplotlib_the_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"edgesnn\[report\]"):
        run.plot()


def test_mappings_and_comparisons_say_their_verdict_first(tmp_path):
    run = shown(run_of(Device(), seed=1))
    worse = shown(run_of(Device(mismatches=3), seed=2, build=1))
    assert repr(edgesnn.compare_runs(run, run)).startswith(
        "<RunComparison: NO CHANGE (exit code 0), 1 compared"
    )
    assert repr(edgesnn.compare_runs(run, [worse])).startswith("<RunComparison: REGRESSION (exit code 3), ")
    mapping = edgesnn.map_bundle(shared_bundle(), "loihi2", tokens=0)
    assert repr(mapping).startswith("<Mapping: fits loihi2, ")


def test_a_run_is_written_and_read_by_paths_of_any_kind(run, tmp_path):
    written = edgesnn.write_run(run, str(tmp_path / "run.json"))
    read = edgesnn.read_run(Folder(tmp_path / "run.json"))
    assert type(written) is type(read) is edgesnn.Run
    assert read.record == written.record and set(read.arrays) == set(run.arrays)


def test_a_text_is_its_pieces_and_a_string_and_shows_as_text():
    def pieces():
        yield GeneratedToken(1, "Hel")
        yield GeneratedToken(2, "lo")

    text = edgesnn.GeneratedText(pieces())
    assert next(text).text == "Hel"
    assert repr(text) == "<GeneratedText: 'Hel' so far>"
    assert [str(text), str(text)] == ["Hello", "Hello"]


def test_a_student_artifact_stands_for_its_bundle_where_no_file_of_it_is_judged(tmp_path):
    from tests.support.artifacts import write_artifact

    student = str(write_artifact(tmp_path / "tiny"))
    assert edgesnn.map_bundle(student, "loihi2", tokens=0).chip.name == "loihi2"
    assert edgesnn.read_student(student).metadata
