"""``edgesnn report`` as a user meets it, and its pages in a real browser."""

import sys

import pytest

from edgesnn.api.reporting import report_run, write_page
from edgesnn.reports.html.run_page import run_page
from tests.support import page_records as records
from tests.support.devices.chromium_pages import chromium, find_chromium
from tests.support.hostile import HOSTILE


@pytest.fixture
def runs(tmp_path):
    """Seven runs of one series; the last one is a little slower."""
    for day in range(1, 8):
        found = records.document(created=f"2026-03-0{day}T10:00:00+00:00", p95_ms=8.0 + (day == 7))
        records.write_record(tmp_path / "runs", f"r{day}", found, records.arrays(day))
    return tmp_path / "runs"


def test_a_run_becomes_a_page_beside_its_record(edgesnn, runs):
    finished = edgesnn("report", runs / "r7.json", "--json")
    assert finished.exit_code == 0, finished.stderr
    assert finished.document["page"] == "r7.html"
    assert (runs / "r7.html").stat().st_size == finished.document["bytes"]
    assert finished.document["verdict"] == "PASS"


def test_against_a_folder_the_page_compares_and_shows_a_trend(runs, tmp_path):
    made = report_run(runs / "r7.json", tmp_path / "page.html", base=runs)
    assert made.comparison is not None
    assert len(made.rows) == 7
    assert "Generated token, p95" in made.html


def test_a_history_gives_trends_without_a_comparison(runs, tmp_path):
    made = report_run(runs / "r7.json", tmp_path / "page.html", history=runs)
    assert made.comparison is None
    assert len(made.rows) == 7


def test_pictures_are_png_files(edgesnn_here, runs):
    pytest.importorskip("matplotlib")
    finished = edgesnn_here("report", runs / "r7.json", runs / "r1.json", "--pictures", "pictures", "--json")
    assert finished.exit_code == 0, finished.stderr
    assert finished.document["pictures"] == ["latency.png", "spikes.png"]


def test_without_matplotlib_the_error_names_the_extra(runs, tmp_path, monkeypatch):
    from edgesnn.errors import MissingExtraError
    from edgesnn.reports.formats.pictures import write_pictures

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"edgesnn\[report\]"):
        write_pictures(tmp_path, records.source(), None)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((), 2),
        (("RUN", "--site", "x"), 2),
        (("--site", "x", "--html", "y"), 2),
        (("RUN", "--output", "y"), 2),
        (("none.json",), 1),
        (("RUN", "--map", "RUN"), 1),
        (("--site", "none"), 1),
    ],
)
def test_what_does_not_belong_together_or_is_not_there_is_an_error(arguments, code, runs, capsys):
    from edgesnn.cli.main import run

    given = [str(runs / "r1.json") if word == "RUN" else word for word in arguments]
    assert run(["report", *given]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_site_is_written_into_the_folder_of_its_runs(edgesnn_here, runs):
    (runs / "old.json").write_text('{"schema": "edgesnn.run/0"}')
    finished = edgesnn_here("report", "--site", runs, "--json")
    assert finished.exit_code == 0, finished.stderr
    assert finished.document["runs"] == 7
    assert [one["file"] for one in finished.document["skipped"]] == ["old.json"]
    assert (runs / "site" / "index.html").is_file()


def test_a_page_that_cannot_be_written_is_an_output_error(tmp_path):
    from edgesnn.errors import OutputError

    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_page(tmp_path / "file" / "page.html", "")


@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine")
def test_a_browser_shows_pages_without_a_message_and_without_a_request(runs, tmp_path):
    made = report_run(runs / "r7.json", tmp_path / "compared.html", base=runs)
    write_page(tmp_path / "compared.html", made.html)
    write_page(tmp_path / "metered.html", run_page(records.source(power=True)))
    hostile = records.document(power=True, model="".join(text[:200] for text in HOSTILE), target=HOSTILE[1])
    hostile["marks"] = list(HOSTILE)
    source = records.Source(records.run(hostile, records.arrays(power=True)))
    write_page(tmp_path / "hostile.html", run_page(source))
    pages = [tmp_path / name for name in ("compared.html", "metered.html", "hostile.html")]
    with chromium() as page:
        for path in pages:
            for width, dark in ((1280, False), (412, True)):
                page.open(path, width=width, dark=dark)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path.name, width)
                assert page.evaluate("getComputedStyle(document.querySelector('h1')).fontWeight") == "700"
                shown = page.evaluate(
                    "[...document.querySelectorAll('figure > svg')].filter(s => s.clientWidth > 0).length"
                )
                assert shown == page.evaluate("document.querySelectorAll('figure').length") > 0
                background = page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (background == "rgb(14, 19, 24)") is dark
    assert page.messages == []
    assert {address.partition(":")[0] for address in page.requests} == {"file"}
