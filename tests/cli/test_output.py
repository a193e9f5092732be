"""What every command shares: streams, documents, exit codes."""

import io
import json
import re

import pytest
import typer

from edgesnn.cli.output import CommandOutput, session
from edgesnn.errors import BundleError, ParityError, UndecidedError


def outcome(body, as_json=False):
    """Exit code of a command with that body."""
    try:
        with session("some", as_json) as output:
            body(output)
    except typer.Exit as end:
        return end.exit_code
    return 0


def raiser(error):
    def body(output):
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BundleError("x"), 1),
        (ParityError("x"), 3),
        (UndecidedError("x"), 6),
        (KeyError("x"), 5),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 130),
    ],
)
def test_every_outcome_has_its_exit_code(error, code, monkeypatch):
    monkeypatch.delenv("EDGESNN_DEBUG", raising=False)
    assert outcome(raiser(error)) == code


def test_an_error_joins_the_document_that_was_begun(capsys):
    def body(output):
        output.document("edgesnn.some/1", {"measured": 3})
        raise BundleError("the file is cut", actual=3, limit=4, remedy="export again")

    assert outcome(body, as_json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgesnn.some/1"
    assert document["measured"] == 3
    assert document["error"]["remedy"] == "export again"


def test_an_error_goes_to_stderr_with_actual_limit_and_remedy(capsys):
    assert outcome(raiser(BundleError("the file is cut", actual=3, limit=4, remedy="export [again]"))) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "error: the file is cut\n  actual: 3\n  limit: 4\n  remedy: export [again]\n"


FOREIGN = (
    "r[/b].json [bold]x[/] 'edgesnn[phone]' :smile: \\[a] \x1b]0;title\x07\x1b[31mred \x9b2J \u202ecod\ud800"
)


class Terminal(io.StringIO):
    """A terminal that keeps what was sent to it."""

    def isatty(self):
        return True


def ways(output, text):
    """Every way on which text of others is shown."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=text)
    table.add_column(text, overflow="fold")
    table.add_row(text)
    table.add_row(Text(text, "red"))
    output.print(text)
    output.print("a ", (text, "bold"), " b")
    output.print(table)
    output.note(text)
    output.warn(text)
    with output.progress() as progress:
        progress.add_task(text, total=2, completed=1, detail=text)
    output.fail(BundleError(text, actual=text, limit=text, remedy=text))


@pytest.mark.parametrize("terminal", [False, True])
def test_foreign_text_is_shown_as_it_is_and_never_sent_to_the_terminal(monkeypatch, terminal):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    out, err = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    ways(CommandOutput("some", False), FOREIGN)
    for shown in (out.getvalue(), err.getvalue()):
        # styles of our own and the progress display are the only sequences
        plain = re.sub(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[2K|\x1b\[1A|\r", "", shown)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800]", plain)
        assert "r[/b].json [bold]x[/] 'edgesnn[phone]' :smile: \\[a]" in plain
        assert r"\x1b]0;title" in plain and r"\x1b[31mred" in plain and r"\x9b2J" in plain
        assert r"\u202ecod\ud800" in plain
        plain.encode()
        assert terminal or "\x1b" not in shown


def test_a_path_like_markup_is_no_bug_of_ours(edgesnn, tmp_path):
    finished = edgesnn("report", "r[/b].json")
    assert finished.exit_code == 1
    assert "'r[/b].json'" in finished.stderr
    (tmp_path / "a.csv").write_text("time (s),\x1b[2Jx[/b],[red]y\n0,1,2\n")
    finished = edgesnn("meter", "info", "csv:a.csv")
    assert finished.exit_code == 1
    assert r"'\x1b[2Jx[/b]', '[red]y'" in finished.stderr and "\x1b" not in finished.stderr


def test_a_document_is_whole_whatever_it_holds(capsys):
    numbers = {"a": float("nan"), "b": [float("inf"), (1.5, -float("inf"))], "c": {"d": "\x1b"}}
    assert outcome(lambda output: output.document("edgesnn.some/1", numbers), as_json=True) == 0
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (document["a"], document["b"], document["c"]) == (None, [None, [1.5, None]], {"d": "\x1b"})


def test_results_are_silent_in_json_mode(capsys):
    def body(output):
        output.print("a table")
        output.note("a note")
        output.document("edgesnn.some/1", {})

    assert outcome(body, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "edgesnn.some/1"


def test_a_bug_says_so_and_shows_its_traceback_when_asked(monkeypatch, capsys):
    monkeypatch.delenv("EDGESNN_DEBUG", raising=False)
    assert outcome(raiser(KeyError("lost"))) == 5
    assert "KeyError: 'lost'" in capsys.readouterr().err
    monkeypatch.setenv("EDGESNN_DEBUG", "1")
    with pytest.raises(KeyError):
        outcome(raiser(KeyError("lost")))
