"""Tables: whole where nobody watches; on a narrow terminal columns go, and no figure is cut."""

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios

import pytest

from edgesnn.cli import tables
from edgesnn.cli.console import PlainConsole
from edgesnn.cli.output import CommandOutput
from edgesnn.cli.profile import show
from edgesnn.cli.tables import Sheet, folded, names, numbers, words
from edgesnn.record.model import RunRecord
from tests.conftest import ROOT
from tests.support import page_records
from tests.support.bundles import shared_bundle
from tests.support.patience import patience

TINY = """
schema = "edgesnn.profile/1"
name = "tiny"
[workload]
prompt_tokens = 4
windows = 2
min_window_seconds = 0.0
min_window_tokens = 8
warmup_tokens = 2
first_tokens = 2
activity_tokens = 8
memory_probes = 0
parity_tokens = 8
accuracy_tokens = 0
[budgets]
parity_mismatches = { limit = 0.0, required = true }
"""
FIGURE = re.compile(r"\d(?:[\d.,]*\d)?")
WIDTHS = (40, 60, 80, 120)


class Screen(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, terminal):
        super().__init__()
        self._terminal = terminal

    def isatty(self):
        return self._terminal


@pytest.fixture
def shown(monkeypatch):
    """What a sheet looks like on a terminal of a width, or where there is none: ``shown(sheet, width)``."""

    def look(sheet, width=None):
        monkeypatch.setenv("COLUMNS", str(width or 40))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr(sys, "stdout", Screen(width is not None))
        CommandOutput("test", False).print(sheet)
        return re.sub(r"\x1b\[[\d;]*m", "", sys.stdout.getvalue())

    return look


@pytest.fixture
def sheet():
    made = Sheet(
        "budgets of 0123456789abcdef",
        words(""),
        numbers("value"),
        numbers("limit", 1),
        names("verdict"),
        words("why", 2),
    )
    made.add_row("latency.p95", "196,608.25 [190,000, 200,000] ms", "<= 25", "FAIL", "a.long.word/" * 9 + "7")
    made.add_row("parity.mismatches", "0", "<= 0", "PASS", "")
    return made


def test_without_a_terminal_a_table_is_as_wide_as_it_has_to_be(sheet, shown):
    text = shown(sheet)
    for row in sheet._rows:
        assert any(all(cell.plain in line for cell in row) for line in text.splitlines())
    assert "…" not in text and not re.search(r" $", text, re.MULTILINE)


def test_without_a_terminal_the_environment_makes_no_edge(sheet, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    stream = Screen(False)
    PlainConsole(stream).print(sheet)
    assert "196,608.25 [190,000, 200,000] ms" in stream.getvalue()


@pytest.mark.parametrize("width", [40, 50, 60, 80, 100, 200])
def test_on_a_terminal_columns_go_and_figures_stay_whole(sheet, shown, width):
    text = shown(sheet, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert {"196,608.25", "190,000", "200,000"} <= set(FIGURE.findall(text))


def test_the_least_important_column_goes_first_and_one_line_says_so(sheet, shown):
    assert "not shown" not in shown(sheet, 100)
    assert "not shown: why; a wider terminal or --json has them" in shown(sheet, 80)
    assert "not shown: limit, why; a wider" in shown(sheet, 60)
    assert "verdict" in shown(sheet, 40)


@pytest.mark.parametrize("width", [1, 5, 10, 20])
def test_no_terminal_is_so_narrow_that_a_figure_is_cut(sheet, shown, width):
    assert {"196,608.25", "190,000", "200,000"} <= set(FIGURE.findall(shown(sheet, width)))


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("parity.mismatches", 12, ["parity.", "mismatches"]),
        ("no joint:abcdefghij", 6, ["no", "joint:", "abcdef", "ghij"]),
        ("abc123456", 5, ["abc", "123456"]),
        ("1,234,567", 4, ["1,234,567"]),
        ("a 1.5e-3 b", 6, ["a", "1.5e-3", "b"]),
        ("one\ntwo three", 5, ["one", "two", "three"]),
        ("日本語日本語", 6, ["日本語", "日本語"]),
        ("", 3, [""]),
    ],
)
def test_words_fold_at_blanks_then_at_joints_never_in_a_figure(text, width, lines):
    assert folded(tables.Text(text), width).plain.split("\n") == lines


@pytest.fixture
def every_sheet(edgesnn_here, monkeypatch, tmp_path):
    """Every table of the command line that this machine can fill in seconds."""
    found = []
    real = CommandOutput.print

    def keep(self, *parts):
        found.extend(part for part in parts if isinstance(part, Sheet))
        real(self, *parts)

    monkeypatch.setattr(CommandOutput, "print", keep)
    monkeypatch.setenv("EDGESNN_ADB", "no-such-adb")
    bundle = shared_bundle()
    tiny = tmp_path / "tiny.toml"
    tiny.write_text(TINY)
    for name, p95_ms in (("base", 8.0), ("head", 9.0)):
        (tmp_path / name).mkdir()
        page_records.write_record(tmp_path / name, "run", page_records.document(p95_ms=p95_ms, power=True))
    for line in (
        *(("list", kind) for kind in ("targets", "runners", "exporters", "profiles", "meters", "chips")),
        ("doctor",),
        ("verify", bundle, "--target", "golden", "--target", "onnxruntime", "--tokens", "5"),
        ("map", bundle, "--chip", "loihi2", "--tokens", "4"),
        ("compare", tmp_path / "base", tmp_path / "head", "--details"),
        ("baseline", "add", tmp_path / "base" / "run.json"),
        ("profile", bundle, "--target", "native", "--profile", tiny, "--details", "-o", tmp_path / "p.json"),
        ("meter", "info", "sim:ppk2"),
        ("meter", "record", "sim:ppk2?voltage=3.3", "-o", tmp_path / "r.npz", "-d", "0.2"),
    ):
        before = len(found)
        finished = edgesnn_here(*line)
        assert len(found) > before or line[0] == "baseline", (line, finished)
    record = RunRecord.model_validate(page_records.document(power=True))
    found += [show._layers_table(record), show._operations_table(record)]
    found += [
        show._energy_parts_table(record.energy, record.words.step),
        show._constants_table(record.energy),
    ]
    return [*found, show._uncertainty_table(record.power), show._power_windows_table(record.power, True)]


def test_every_table_is_whole_without_a_terminal_and_cuts_no_figure_on_one(every_sheet, shown):
    assert len(every_sheet) > 20
    for sheet in every_sheet:
        cells = [cell.plain for row in sheet._rows for cell in row]
        whole = shown(sheet)
        assert all(line in whole for cell in cells for line in cell.split("\n"))
        assert "…" not in whole
        known = set(FIGURE.findall(whole))
        for width in WIDTHS:
            text = shown(sheet, width)
            assert "…" not in text
            cut = set(FIGURE.findall(text)) - known
            assert not cut, (width, cut, text)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals of POSIX")
@pytest.mark.parametrize("columns", [40, 80])
def test_a_real_terminal_gets_lines_that_fit(tmp_path, columns):
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "edgesnn.cli.main", "list", "chips"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT), "TERM": "xterm", "NO_COLOR": "1"},
        stdout=slave,
    )
    os.close(slave)
    said = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the last writer is gone
            break
        if not piece:
            break
        said += piece
    os.close(master)
    assert process.wait(patience()) == 0
    text = re.sub(r"\x1b\[[\d;]*m", "", said.decode())
    assert "loihi2" in text and "…" not in text
    assert max(map(len, text.splitlines())) <= columns
