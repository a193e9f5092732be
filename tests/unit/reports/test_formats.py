"""Every format against its consumer's parser or schema, also with hostile names."""

import json
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft202012Validator, validate

from edgesnn.reports.comparing.compare import base_sides, compare_runs
from edgesnn.reports.comparing.result import compare_schema, comparison_document
from edgesnn.reports.formats.dashboards import bencher, smaller_is_better
from edgesnn.reports.formats.junit import junit, tell_apart
from edgesnn.reports.formats.markdown import escape, markdown
from tests.support.run_documents import Device, changed, session_of

#: What https://bencher.dev/bmf.json asks for, in our words: objects of objects of metrics.
NUMBER = {"type": "number"}
METRIC = {
    "type": "object",
    "properties": {"value": NUMBER, "lower_value": NUMBER, "upper_value": NUMBER},
    "required": ["value"],
}
BENCHER = {
    "type": "object",
    "additionalProperties": {"type": "object", "additionalProperties": METRIC},
}
HOSTILE = [
    "<script>alert(1)</script>",
    "]]><evil/>",
    "| a | b |",
    "[x](javascript:alert(1))",
    "![x](http://evil.example/x.png)",
    "`code` **bold** _it_ ~~gone~~",
    "@everyone #1 https://evil.example www.evil.example",
    "line\nbreak\r\n# heading",
    "\x00\x1b[31m\u202e\ud7ff\ufffe",
    "&lt;img src=x onerror=alert(1)&gt;",
    "- item",
    "$(touch /tmp/x) ${{ secrets.TOKEN }}",
]
BOARD = Device(documents=30)


def compared(name="student", strict=False, **change):
    board = changed(BOARD, model=name)
    base = [session_of(board, n, created=f"2026-01-{n + 1:02d}T00:00:00+00:00") for n in range(6)]
    head = session_of(changed(board, **change), 50, created="2026-02-01T00:00:00+00:00")
    lone = session_of(changed(board, target="phone"), 51)
    return compare_runs(base_sides(base), [head, lone], strict=strict)


WORSE = compared(mismatches=1, latency_ms=3.0)


@pytest.mark.parametrize("strict", [False, True])
def test_junit_is_what_its_parser_counts(strict, tmp_path):
    junitparser = pytest.importorskip("junitparser")
    found = compared(mismatches=1, session_sd=0.5, strict=strict)
    path = tmp_path / "junit.xml"
    path.write_text(junit(found), encoding="utf-8")
    parsed = junitparser.JUnitXml.fromfile(str(path))
    cases = [case for suite in parsed for case in suite]
    kinds = [type(result).__name__ for case in cases for result in case.result]
    assert parsed.tests == len(cases)
    assert parsed.failures == kinds.count("Failure") >= 2
    assert sum(suite.skipped for suite in parsed) == kinds.count("Skipped")
    names = {case.name for case in cases if any(type(r).__name__ == "Failure" for r in case.result)}
    assert {"parity.mismatches", "budget parity_mismatches"} <= names
    assert ("comparison (head only)" in names) is strict


def cases_of(text):
    return [(case.get("classname"), case.get("name")) for case in ET.fromstring(text).iter("testcase")]


@pytest.mark.parametrize("part", ["profile", "engine", "target", "model"])
def test_cases_of_one_name_are_told_apart_as_suites_are(part):
    boards = [BOARD, changed(BOARD, **{part: "another"})]
    sessions = [session_of(board, 1) for board in boards]
    worse = [session_of(boards[0], 2), session_of(changed(boards[1], model_bytes=2 * 10**6), 2)]
    text = junit(compare_runs(base_sides(sessions), worse))
    cases = cases_of(text)
    assert len(cases) == len(set(cases)) and len({where for where, _ in cases}) == 2
    suites = ET.fromstring(text).findall("testsuite")
    assert {where for where, _ in cases} == {suite.get("name") for suite in suites}
    (failed,) = [case for case in ET.fromstring(text).iter("testcase")
                 if case.find("failure") is not None and case.get("name") == "size.model"]  # fmt: skip
    assert "another" in failed.get("classname")


def test_cases_that_would_still_be_twins_are_numbered():
    names = ["a", "b", "a", "a (2)", "a"]
    root = ET.fromstring(
        "<s>" + "".join(f"<testcase classname='c' name='{name}'/>" for name in names) + "</s>"
    )
    tell_apart(root)
    assert [case.get("name") for case in root] == ["a", "b", "a (2)", "a (2) (2)", "a (3)"]


def test_the_document_fits_its_schema():
    Draft202012Validator.check_schema(compare_schema())
    document = {"schema": "edgesnn.compare/1", "edgesnn_version": "0", **comparison_document(WORSE)}
    validate(json.loads(json.dumps(document, allow_nan=False)), compare_schema())
    assert document["exit_code"] == 3


def test_bencher_takes_every_gating_metric_with_its_interval():
    found = bencher(WORSE)
    validate(found, BENCHER)
    (measures,) = found.values()
    p50 = measures["forward.p50 (ms)"]
    assert p50["lower_value"] < p50["value"] < p50["upper_value"]
    assert all(len(name) <= 64 for name in measures)


def test_smaller_is_better_holds_only_what_is_better_when_smaller():
    found = smaller_is_better(WORSE)
    assert all(isinstance(one["value"], int | float) and one["unit"] and one["name"] for one in found)
    assert not any("top1" in one["name"] for one in found)
    assert any("forward.p50" in one["name"] for one in found)
    assert all("SIMULATED" in one["name"] for one in found)


def test_markdown_says_the_verdict_first_and_the_worst_metric_on_top():
    text = markdown(WORSE)
    assert text.splitlines()[0] == "## edgesnn compare: ✗ regression"
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert "✗ regression" in rows[1]
    assert "SIMULATED" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name):
    found = compared(name=name, mismatches=1)
    ET.fromstring(junit(found))
    text = markdown(found)
    shown = escape(name)
    assert shown in text
    for danger in (
        "<script",
        "<img",
        "](",
        "](javascript",
        "`",
        "**",
        "http:",
        "https:",
        "www.",
        "@every",
        "\x1b",
        "${{",
    ):
        assert danger not in text
    widths = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("| ")}
    assert widths <= {4, 7}
    json.dumps(bencher(found), allow_nan=False)


def test_a_markdown_parser_finds_no_markup_in_hostile_text():
    parser = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False})
    for name in HOSTILE:
        inline = parser.parse(f"a {escape(name)} b")[1]
        assert {token.type for token in inline.children} == {"text"}


def test_markdown_stays_below_what_its_reader_takes():
    one = WORSE.targets[0]
    many = type(WORSE)(**{**{n: getattr(WORSE, n) for n in WORSE.__slots__}, "targets": (one,) * 400})
    text = markdown(many, 60_000)
    assert len(text.encode()) < 60_000
    assert "more targets do not fit here" in text
    assert len(markdown(many).encode()) < 1024 * 1024
