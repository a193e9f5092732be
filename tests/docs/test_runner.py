"""The runner of the pages finds what it is there to find."""

import textwrap
from pathlib import Path

import pytest
import yaml

from tests.docs.checked import make, pip
from tests.docs.fences import ROOT, fences
from tests.docs.small import AT_MOST, smaller
from tests.docs.test_pages import fits, parsed, run_block, words_of


def one(text):
    (fence,) = fences("page.md", textwrap.dedent(text))
    return fence


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```\nls\n```", "label the block"),
        ("```text\n  edgesnn list\n```", "commands stand in a block of text"),
        ("<!-- not run: later, no time -->\n\n```bash\nls\n```", "'not run' takes one of"),
        ("<!-- not run: hardware -->\n```bash\nls\n```", "'not run' takes one of"),
        ("<!-- not run: elsewhere, tests/no.py -->\n```bash\nls\n```", "there is no tests/no.py"),
        (
            "<!-- run with: a as b; x y as z -->\n```bash\ncat a\n```",
            "'x y' of 'run with' does not stand in it",
        ),
        ("<!-- exit 3 -->\n\n```bash\nfalse\n```", None),
    ],
)
def test_a_fault_of_a_block_is_named(text, fault):
    found = one(text).faults()
    assert (found == []) if fault is None else any(fault in said for said in found)


def test_what_stands_above_a_block_is_read_and_nothing_further_up():
    text = "<!-- exit 6 -->\n\nprose\n\n<!-- exit 3 -->\n<!-- run with: A as b -->\n\n  ```bash\n  A\n  ```\n"
    fence = one(text)
    assert (fence.exit_code, fence.swaps, fence.swapped(), fence.language) == (
        3,
        (("A", "b"),),
        "b\n",
        "bash",
    )


def test_a_block_that_ends_otherwise_than_its_page_says_fails(tmp_path):
    class Ended:
        returncode, stdout, stderr = 3, "verdict: FAIL\n", ""

    def shell(script, folder):
        return Ended

    with pytest.raises(AssertionError, match="page.md:1"):
        run_block(one("```bash\nx\n```"), shell, tmp_path, {})
    run_block(one("<!-- exit 3 -->\n```bash\nx\n```"), shell, tmp_path, {})
    run_block(one("<!-- exit 3 -->\n```console\n$ x\nverdict: FAIL\n```"), shell, tmp_path, {})
    with pytest.raises(AssertionError, match="not said: \\['verdict: PASS'\\]"):
        run_block(one("<!-- exit 3 -->\n```console\n$ x\nverdict: PASS\n```"), shell, tmp_path, {})
    with pytest.raises(ZeroDivisionError):
        run_block(one("```python\n1 / 0\n```"), shell, tmp_path, {})


def test_numbers_and_borders_do_not_count_and_order_does():
    said = "a table\n┃ rows │ 1,234 ┃\nthe end after 3.5 s\n"
    assert fits("rows 7\n...\nthe end after 9 s", said) == []
    assert fits("the end after 9 s\nrows 7", said) == ["rows #"]


def test_data_is_read_by_who_reads_it():
    with pytest.raises(ValueError, match="no_such"):
        parsed(one("```toml\n[budgets]\nno_such = { limit = 1.0 }\n```"))
    with pytest.raises(yaml.YAMLError):
        parsed(one("```yaml\na: [\n```"))


def test_a_command_line_ends_where_the_shell_takes_over():
    assert words_of("edgesnn list targets   # all | of them") == ["list", "targets"]
    assert words_of("edgesnn generate b 'a | b' > out") == ["generate", "b", "a | b"]
    assert words_of("cat x | edgesnn chat") is None


def test_what_pip_and_make_are_asked_for_must_be_there(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert (
        pip(["install", "edgesnn[train,docs]", "numpy==2.0", "edgesnn-0.1.0-py3-none-any.whl", "."]) is None
    )
    assert "no extra" in pip(["install", "edgesnn[trian]"])
    assert make(["demo"]) is None and make(["train-reference", "DATA=x"]) is None
    assert "no dmeo" in make(["dmeo"]) and make([]) is not None


@pytest.mark.parametrize("profile", sorted(Path(ROOT, "profiles").glob("*.toml")), ids=lambda path: path.stem)
def test_a_smaller_profile_is_smaller_and_keeps_its_budgets(profile):
    import tomllib

    from edgesnn.profiler.budgets.profile import AnyProfile

    whole, less = (
        tomllib.loads(text) for text in (profile.read_text("utf-8"), smaller(profile.read_text("utf-8")))
    )
    assert less["budgets"] == whole["budgets"]
    kept = AnyProfile.model_validate(less).root.workload
    assert all(getattr(kept, name) <= most for name, most in AT_MOST.items() if name in whole["workload"])
