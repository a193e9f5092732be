"""Rows of other tools' CSV files: every number is what was meant, missing, or refused with its line."""

import pytest

from edgesnn.errors import RecordingError, UsageError
from edgesnn.meters.base import Loss
from tests.support.csv_traces import JOULESCOPE, measure, rows

#: 20 samples of 1 ms of 27 mA at 3.7 V.
ENERGY_J, CHARGE_C = 20 * 1e-3 * 0.027 * 3.7, 20 * 1e-3 * 0.027
PLAIN = JOULESCOPE + rows(20)


def comma(text):
    """The same with decimal commas."""
    return text.replace(".", ",")


def right(found):
    """Whether all 20 samples were read as they were meant."""
    assert found.loss == Loss(20)
    assert found.summary.energy_j == pytest.approx(ENERGY_J, rel=1e-6)
    assert found.summary.charge_c == pytest.approx(CHARGE_C, rel=1e-6)
    assert found.summary.measured_s == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (PLAIN, "utf-8"),
        (PLAIN.replace("\n", "\r\n"), "utf-8-sig"),
        (PLAIN.replace("\n", "\r"), "utf-8"),
        (PLAIN, "utf-16"),
        (PLAIN.replace(",", "\t"), "utf-8"),
        (PLAIN.replace(",", ";"), "utf-8"),
        ("sep=;\n" + comma(PLAIN.replace(",", ";")), "utf-8"),
        (comma(PLAIN.replace(",", "\t")), "utf-8"),
        (comma(PLAIN.replace(",", ";")), "utf-8"),
        (JOULESCOPE + comma(rows(20, '"{:.6f}"|"{:.6f}"|"{:.6f}"')).replace("|", ","), "utf-8"),
        ((JOULESCOPE + rows(20)).replace("\n", ",\n"), "utf-8"),
        (JOULESCOPE.replace(",", ";") + rows(20).replace(",", ";").replace("\n", ";\n"), "utf-8"),
        (PLAIN + ",,\n\n,,\n", "utf-8"),
        ("# made by a tool\n# on Monday, at 3\n\n" + PLAIN, "utf-8"),
        (PLAIN.replace("\n0.01", "\n# a mark, at 5\n0.01", 1), "utf-8"),
        (JOULESCOPE + rows(20).replace("\n0.01", "\n" + JOULESCOPE + "0.01", 1), "utf-8"),
        ("time,current,voltage\ns,A,V\n" + rows(20), "utf-8"),
    ],
    ids=[
        "plain", "bom-crlf", "cr", "utf-16", "tabs",
        "semicolons", "sep-line", "tabs-decimal-commas", "semicolons-decimal-commas", "quoted-decimal-commas",
        "trailing-commas", "trailing-semicolons", "blank-rows", "preamble", "comment",
        "repeated-header", "row-of-units",
    ],
)  # fmt: skip
def test_one_trace_in_many_dialects_is_one_trace(tmp_path, text, encoding):
    right(measure(tmp_path, text, encoding=encoding))


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ('"27,000.0"', ""), ('"27.000,0"', ""), ("27'000.0", ""), ("27\u202f000", ""), ("27e3", ""),
        ('"27,000"', "&decimal=point"), ('"27.000"', "&decimal=comma"),
    ],
)  # fmt: skip
def test_thousands_separators_that_leave_no_choice_are_read(tmp_path, cell, options):
    text = "Timestamp(ms),Current(uA)\n" + "".join(f"{k},{cell}\n" for k in range(20))
    right(measure(tmp_path, text, "&voltage=3.7" + options))


@pytest.mark.parametrize(
    ("text", "what", "cause"),
    [
        (JOULESCOPE + comma(rows(20)), "line 2: 6", "decimal commas"),
        ("Timestamp(ms),Current(uA),D0-D7\n0,00,27000,000,00000000\n", "line 2: 5", "decimal commas"),
        ("Time (s),Current (mA)\n0.000,27,000.0\n", "line 2: 3", "thousands separators"),
        (JOULESCOPE + rows(3) + "0.003,0.027,1000,3.7\n", "line 5: 4", "header does not name"),
        ("time (s),current (A),flag,note\n0,0,027,,\n", "line 2: 5", "decimal commas"),
        ("Time(ms),Main(mA),Main Voltage(V),\n0.5,27,000,3.7\n", "line 2: 4", "thousands separators"),
        (JOULESCOPE + "0,000;0,027;3,7\n", "line 2: 4", "semicolons below"),
        ("time (ms),current (uA),voltage (V),note\n0,26,1,4,\n", "line 2: 5", "decimal commas"),
        (JOULESCOPE + "0.0,0.027,3.7,\n", "line 2: 4", "let the header end in one too"),
        ("time (s),current (mA),note\n0,999.5\n1,1,000.5\n", "line 3: 3", "comma of its own"),
    ],
)  # fmt: skip
def test_a_row_whose_fields_moved_is_refused_with_its_line_and_the_likely_cause(tmp_path, text, what, cause):
    with pytest.raises(RecordingError) as caught:
        measure(tmp_path, text, "&voltage=3.7")
    assert what in caught.value.actual
    assert cause in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (PLAIN + "0.02,0.027\n", 22),
        (PLAIN + "hello\n", 22),
        (PLAIN + "a,b,c\n", 22),
        (PLAIN + "\n\n0.02,0x10,3.7\n", 24),
        (PLAIN + "0.02,27 mA,3.7\n", 22),
        (PLAIN + '0.02,"0.027,3.7\n0.021,0.027,3.7\n', 22),
        (PLAIN + "nan,0.027,3.7\n", 22),
        (PLAIN + ",0.027,3.7\n", 22),
        (PLAIN + "#N/A,0.027,3.7\n", 22),
        (PLAIN + "inf,0.027,3.7\n", 22),
        (PLAIN + "0.018,0.027,3.7\n0.02,0.027,3.7\n", 22),
        (PLAIN + "# a comment\n0.018,0.027,3.7\n", 23),
        (PLAIN + PLAIN, 23),
    ],
)
def test_what_is_no_row_is_refused_with_its_line(tmp_path, text, line):
    with pytest.raises(RecordingError) as caught:
        measure(tmp_path, text)
    assert f"line {line}" in caught.value.actual


@pytest.mark.parametrize(
    "text",
    [
        "time (ms);current (uA)\n0;27,000\n1;27,001\n",
        'time (ms),current (uA)\n0,"27,000"\n1,"27,001"\n',
        "time (s);current (uA)\n0.001;27,000\n0.002;27,001\n",
    ],
)
def test_a_comma_that_may_mean_both_is_asked_about(tmp_path, text):
    with pytest.raises(RecordingError) as caught:
        measure(tmp_path, text, "&voltage=1")
    assert "line 2" in caught.value.actual
    assert "?decimal=comma or ?decimal=point" in caught.value.remedy
    thousand = measure(tmp_path, text, "&voltage=1&decimal=point").summary
    if "0.001" not in text:
        unit = measure(tmp_path, text, "&voltage=1&decimal=comma").summary
        assert thousand.charge_c == pytest.approx(1000 * unit.charge_c)
    with pytest.raises(UsageError, match="decimal mark"):
        measure(tmp_path, text, "&decimal=dot")


def test_points_in_some_whole_numbers_only_are_asked_about(tmp_path):
    text = "time (ms);current (uA)\n0;1.000\n1;999\n2;1.001\n"
    with pytest.raises(RecordingError, match="may separate decimals or thousands"):
        measure(tmp_path, text, "&voltage=1")
    for mark, charge in (("comma", 3000), ("point", 1001.001)):
        found = measure(tmp_path, text, f"&voltage=1&decimal={mark}").summary
        assert found.charge_c == pytest.approx(charge * 1e-9)
    assert measure(tmp_path, text.replace("999", "999.5"), "&voltage=1").loss == Loss(3)


def test_two_decimal_marks_in_one_file_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("edgesnn.meters.files.csv_trace.ROWS", 7)
    text = "time (ms);current (mA)\n" + "".join(f"{k};{'27.5' if k < 15 else '27,5'}\n" for k in range(20))
    with pytest.raises(RecordingError, match="another decimal mark"):
        measure(tmp_path, text, "&voltage=1")


@pytest.mark.parametrize(
    "cell",
    [
        "nan",
        "-NaN",
        "",
        "--",
        "OVER",
        "O.L",
        "inf",
        "-inf",
        "9.91E37",
        "-9.9E37",
        "1e400",
        "1.#QNAN",
        "#N/A",
        "*****",
    ],
)
@pytest.mark.parametrize("places", [(7,), (0, 1), (18, 19), (3, 4, 5, 11)])
def test_a_cell_without_a_number_is_a_missing_sample_and_counted(tmp_path, cell, places):
    found = measure(tmp_path, JOULESCOPE + rows(20, change=dict.fromkeys(places, cell)))
    count = 20 - len(places)
    assert (found.loss.received, found.loss.missing) == (count, len(places))
    assert "no number" in found.loss.reasons[-1]
    assert found.summary.samples == count
    assert found.summary.energy_j == pytest.approx(ENERGY_J * count / 20, rel=1e-6)
    assert found.summary.lowest_w == pytest.approx(found.summary.highest_w)


def test_a_voltage_that_is_missing_makes_the_sample_missing(tmp_path):
    text = PLAIN.replace("0.007000,0.027000,3.700000", "0.007000,0.027000,nan")
    assert measure(tmp_path, text).loss.missing == 1


def test_missing_samples_are_counted_across_the_seams_of_a_long_trace(tmp_path, monkeypatch):
    monkeypatch.setattr("edgesnn.meters.files.csv_trace.ROWS", 7)
    found = measure(tmp_path, JOULESCOPE + rows(50, change=dict.fromkeys(range(6, 30), "nan")))
    assert (found.loss.received, found.loss.missing) == (26, 24)
    assert found.summary.missing_s == pytest.approx(0.024)


def test_a_rate_takes_the_place_of_the_times_whatever_they_hold(tmp_path):
    falling = PLAIN.replace("\n0.015", "\n0.001").replace("\n0.016", "\nnan")
    right(measure(tmp_path, falling, "&rate=1000"))
    found = measure(tmp_path, "Current (mA)\n27\n27\n27\n", "&rate=1000&voltage=3.7")
    assert found.summary.charge_c == pytest.approx(81e-6)


def test_units_that_disagree_and_marker_texts_that_were_shortened_are_refused(tmp_path):
    with pytest.raises(RecordingError, match="another unit"):
        measure(tmp_path, "time (s),current (A)\nms,mA\n0,27\n1,27\n", "&voltage=1")
    with pytest.raises(RecordingError, match="eight marker inputs"):
        measure(tmp_path, "Timestamp(ms),Current(uA),D0-D7\n0,1,1\n1,1,1\n", "&voltage=1")


def test_western_letters_and_both_signs_of_a_millionth_are_read(tmp_path):
    for unit, encoding in (("µA", "cp1252"), ("\u03bcA", "utf-8"), ("µA", "utf-8")):
        text = f"time (ms);Strom: current ({unit})\n0;1,5\n1;1,5\n"
        found = measure(tmp_path, text, "&voltage=1", encoding=encoding)
        assert found.summary.charge_c == pytest.approx(3e-9)


@pytest.mark.parametrize("text", ["", "a" * 200_000 + ",b\n1,2\n", bytes(range(256)) * 50, "1,2\n3,4\n"])
def test_what_is_no_trace_is_refused(tmp_path, text):
    with pytest.raises(RecordingError):
        measure(tmp_path, text)
