"""A site over a folder of runs."""

import hashlib
import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from edgesnn.errors import OutputError, RecordError
from edgesnn.reports.html import site_pages
from edgesnn.reports.html.site import write_site
from tests.support import page_records as records

START = datetime(2026, 1, 1, tzinfo=UTC)


def write_runs(folder, count, *, targets=("cpu",), **options):
    for index in range(count):
        created = (START + timedelta(hours=index)).isoformat()
        target = targets[index % len(targets)]
        p95_ms = 8.0 + (2.0 if index >= count // 2 else 0.0)
        found = records.document(created=created, target=target, p95_ms=p95_ms, **options)
        records.write_record(
            folder, f"run-{index:03d}", found, records.arrays() if index == count - 1 else None
        )


def pages_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_text("utf-8") for p in folder.rglob("*.html")}


def test_a_site_has_an_index_a_page_for_each_series_and_pages_for_the_newest_runs(tmp_path):
    write_runs(tmp_path / "runs", 12, targets=("cpu", "phone:a"))
    made = write_site(tmp_path / "runs", tmp_path / "site", newest=2)
    assert (made.runs, made.series, made.pages, made.skipped) == (12, 2, 7, ())
    pages = pages_of(tmp_path / "site")
    assert len([name for name in pages if name.startswith("series/")]) == 2
    assert len([name for name in pages if name.startswith("runs/")]) == 4
    assert "phone:a" in pages["index.html"]
    told = json.loads((tmp_path / "site" / site_pages.MARKER).read_text())
    assert told["runs"] == 12


def test_every_link_of_a_site_leads_to_a_file_that_is_there(tmp_path):
    write_runs(tmp_path, 6, targets=("cpu", 'a "b" <c>'))
    (tmp_path / "odd name #1?.json").write_text((tmp_path / "run-000.json").read_text())
    write_site(tmp_path, tmp_path / "site")
    from urllib.parse import unquote

    for name, text in pages_of(tmp_path / "site").items():
        folder = (tmp_path / "site" / name).parent
        for address in re.findall(r'href="([^"]*)"', text):
            if address.startswith("#"):
                assert f'id="{unquote(address[1:])}"' in text
            elif not address.startswith("data:"):
                assert (folder / unquote(address)).is_file(), address


def test_a_series_shows_where_its_level_changed(tmp_path):
    write_runs(tmp_path, 20)
    write_site(tmp_path, tmp_path / "site", newest=0)
    text = next(text for name, text in pages_of(tmp_path / "site").items() if name.startswith("series/"))
    assert 'class="step"' in text
    assert "The same in every run: " in text


def test_many_runs_of_a_series_stand_on_several_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(site_pages, "ROWS_PER_PAGE", 5)
    write_runs(tmp_path, 12)
    write_site(tmp_path, tmp_path / "site", newest=0)
    names = sorted(name for name in pages_of(tmp_path / "site") if name.startswith("series/"))
    assert len(names) == 3


def test_records_that_cannot_be_read_are_told_with_their_reason_and_other_files_are_not(tmp_path):
    write_runs(tmp_path, 2)
    good = (tmp_path / "run-000.json").read_text()
    (tmp_path / "next.json").write_text(good.replace("edgesnn.run/1", "edgesnn.run/2"))
    (tmp_path / "cut.json").write_text(good[:2_000])
    (tmp_path / "edited.json").write_text(good.replace('"unit": "ms"', '"unit": 3'))
    (tmp_path / "package.json").write_text('{"name": "x"}')
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    made = write_site(tmp_path, tmp_path / "site")
    assert sorted(one.path.name for one in made.skipped) == ["cut.json", "edited.json", "next.json"]
    index = (tmp_path / "site" / "index.html").read_text()
    assert "next.json" in index
    assert "edgesnn.run/2" in index


def test_mixed_units_are_never_one_trend(tmp_path):
    write_runs(tmp_path, 6)
    path = tmp_path / "run-001.json"
    document = json.loads(path.read_text())
    document["quantities"]["latency.p95"] |= {"unit": "us", "value": 9e9}
    path.write_text(json.dumps(document))
    write_site(tmp_path, tmp_path / "site", newest=0)
    text = next(text for name, text in pages_of(tmp_path / "site").items() if name.startswith("series/"))
    figure = text[text.index('id="trend-latency.p95"') :]
    assert "5 runs from" in figure[: figure.index("</figure>")]


def test_a_new_site_replaces_the_old_one_and_nothing_else(tmp_path):
    write_runs(tmp_path / "runs", 4, targets=("cpu", "gone"))
    site = tmp_path / "site"
    write_site(tmp_path / "runs", site)
    (site / "notes.txt").write_text("mine")
    for path in (tmp_path / "runs").glob("*.json"):
        if '"target": "gone"' in path.read_text():
            path.unlink()
    assert write_site(tmp_path / "runs", site).series == 1
    assert not [name for name in pages_of(site) if "gone" in name]
    assert (site / "notes.txt").read_text() == "mine"


def test_a_folder_that_is_no_site_is_left_alone(tmp_path):
    write_runs(tmp_path / "runs", 1)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "index.html").write_text("mine")
    with pytest.raises(OutputError):
        write_site(tmp_path / "runs", tmp_path / "precious")
    with pytest.raises(OutputError):
        write_site(tmp_path / "runs", tmp_path / "precious" / "index.html")
    assert (tmp_path / "precious" / "index.html").read_text() == "mine"


def test_a_folder_without_records_is_an_error(tmp_path):
    with pytest.raises(RecordError):
        write_site(tmp_path, tmp_path / "site")
    with pytest.raises(RecordError):
        write_site(tmp_path / "none", tmp_path / "site")


def test_one_record_with_damaged_arrays_does_not_stop_a_site(tmp_path):
    write_runs(tmp_path / "runs", 3)
    (arrays,) = (tmp_path / "runs").glob("*.npz")
    data = bytearray(arrays.read_bytes())
    data[data.index(b"PK\x01\x02") + 6] = 0xFF  # a version that zipfile has not heard of
    arrays.write_bytes(data)
    record = arrays.with_suffix(".json")
    raw = json.loads(record.read_text())
    raw["arrays"]["sha256"] = hashlib.sha256(data).hexdigest()
    record.write_text(json.dumps(raw))
    assert write_site(tmp_path / "runs", tmp_path / "site", newest=3).runs == 3
    assert any("holds no arrays" in text for text in pages_of(tmp_path / "site").values())
