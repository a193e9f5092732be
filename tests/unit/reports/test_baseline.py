"""Baselines on disk: append-only, checked, and what their history shows."""

import json

import numpy as np
import pytest

from edgesnn.errors import RecordError, UserError
from edgesnn.reports import history
from edgesnn.reports.baseline import (
    MOST_SESSIONS,
    append_sessions,
    file_name,
    read_baseline,
    read_baselines,
    refuse_unfit,
    start_level,
)
from edgesnn.reports.comparing.result import Key
from edgesnn.reports.inputs import read_base
from tests.support.run_documents import Device, changed, session_of

BOARD = Device(documents=30)


def day(number):
    return f"2026-{1 + number // 28:02d}-{1 + number % 28:02d}T00:00:00+00:00"


def series_of(levels, **options):
    board = changed(BOARD, session_sd=0.002, **options)
    return [session_of(changed(board, latency_ms=level), n, created=day(n)) for n, level in enumerate(levels)]


@pytest.fixture
def folder(tmp_path):
    append_sessions(tmp_path, series_of([2.0] * 6))
    return tmp_path


def only_file(folder):
    return next(folder.glob("*.jsonl"))


def test_what_was_added_is_read_back_to_seven_digits(folder):
    kept = read_baseline(only_file(folder)).sessions
    assert [one.created for one in kept] == [day(n) for n in range(6)]
    added = series_of([2.0] * 6)[3]
    assert kept[3].counts == added.counts
    assert kept[3].documents == added.documents
    assert kept[3].series["forward.p50"].values == pytest.approx(added.series["forward.p50"].values, rel=1e-6)


def test_scores_that_sessions_share_are_kept_once(folder):
    entries = [json.loads(line).get("entry") for line in only_file(folder).read_text().splitlines()]
    assert entries.count("documents") == 1
    assert entries.count("session") == 6


def test_a_run_that_is_there_already_is_not_added_twice(folder):
    before = only_file(folder).read_bytes()
    assert append_sessions(folder, series_of([2.0] * 6)) == ([], 6)
    assert only_file(folder).read_bytes() == before


def test_a_file_only_ever_grows_at_its_end(folder):
    before = only_file(folder).read_bytes()
    append_sessions(folder, series_of([2.0] * 7)[6:])
    assert only_file(folder).read_bytes().startswith(before)


def test_lines_that_two_branches_added_may_stand_in_any_order_and_twice(folder):
    path = only_file(folder)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], *lines[6:], *lines[4:6], lines[4]]) + "\n")
    assert len(read_baseline(path).sessions) == 6


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text.replace('"value":0.0', '"value":1.0', 1), "was changed"),
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: text.replace("edgesnn.baseline/1", "edgesnn.baseline/2"), "of this version"),
        (lambda text: "", "not JSON"),
        (lambda text: text.replace('"key"', '"kei"', 1), "names no key"),
        (lambda text: text.replace('"model": "student"', '"model": "other"', 1), "another key"),
        (lambda text: text + "[]\n", "no JSON object"),
        (
            lambda text: "\n".join(one for one in text.splitlines() if '"documents","sha' not in one),
            "no entry",
        ),
    ],
)
def test_a_baseline_that_was_edited_or_cut_is_refused(folder, spoil, says):
    path = only_file(folder)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(RecordError, match=says):
        read_baselines(folder)


def test_file_names_are_plain_whatever_the_key_holds():
    key = Key("../../etc\u202e/pass wd", "a:b<script>", "e", "m", "p" * 500, "w")
    name = file_name(key)
    assert "/" not in name
    assert len(name) < 200
    assert name.isascii()
    assert file_name(Key("a b", "t", "e", "m", "p", "w")) != file_name(Key("a_b", "t", "e", "m", "p", "w"))


def test_an_accepted_change_starts_a_new_level_and_keeps_the_history(folder):
    key = read_baseline(only_file(folder)).key
    start_level(folder, [key], day(6), "a faster kernel")
    append_sessions(folder, series_of([1.0] * 8)[6:])
    kept = read_baseline(only_file(folder))
    assert (len(kept.sessions), len(kept.current())) == (8, 2)
    assert read_base(folder)[key].sessions == kept.current()


def test_the_base_is_the_newest_sessions(tmp_path):
    append_sessions(tmp_path, series_of([2.0] * (MOST_SESSIONS + 3)))
    assert len(read_baseline(only_file(tmp_path)).current()) == MOST_SESSIONS


def test_a_failed_run_needs_force_and_an_invalid_one_is_never_taken():
    failed = session_of(changed(BOARD, mismatches=1), 1)
    with pytest.raises(UserError, match="required budget"):
        refuse_unfit([failed], force=False)
    refuse_unfit([failed], force=True)


def test_a_step_is_found_where_it_is(tmp_path):
    append_sessions(tmp_path, series_of([2.0] * 12 + [2.2] * 9))
    found = [one for one in history.steps(read_baseline(only_file(tmp_path))) if one.metric == "forward.p50"]
    assert [one.at for one in found] == [12]
    assert found[0].change == pytest.approx(np.log(1.1), abs=0.01)


def test_slow_drift_that_no_neighbour_shows_is_found_and_stands_in_the_notes(tmp_path):
    append_sessions(tmp_path, series_of([2.0 * 1.004**n for n in range(24)]))
    worse = [one.metric for one in history.drifts(read_baseline(only_file(tmp_path))) if one.worse]
    assert set(worse) == {"forward.p50", "forward.p95"}
    (side,) = read_base(tmp_path).values()
    assert any("slow drift: forward.p50" in note for note in side.notes)


def test_noise_has_hardly_any_steps():
    rng = np.random.default_rng(5)
    found = sum(bool(history.cuts(rng.normal(0, 1, 60))) for _ in range(200))
    assert found <= 20


def test_a_constant_history_has_no_steps_and_an_exact_step_is_one():
    assert history.cuts(np.zeros(30)) == []
    assert history.cuts(np.repeat([1.0, 2.0], 10)) == [10]
