"""What every command shares: streams, documents, exit codes."""

import json

import pytest
import typer

from edgesnn.cli.output import session
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
