"""The fenced blocks of the pages, and what a comment right above one says of it.

    <!-- not run: KIND, what -->          KIND is one of `KINDS`; `elsewhere` names the test that runs it
    <!-- exit 3 -->                       a block of one command ends with this code
    <!-- run with: OLD as NEW; ... -->    what stands for what CI has not, for example a board

A block labelled ``text`` is no code; neither it nor a block in another language of `OTHERS` needs a word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHELL, DATA = ("bash", "console"), ("toml", "yaml", "json")
#: Languages that this project does not run; ``text`` is what no machine reads.
OTHERS = ("text", "kotlin", "swift", "js", "groovy", "udev")
KINDS = ("hardware", "network", "minutes", "never ends", "elsewhere", "illustration")
#: What a line of a shell begins with; none of them hides in a block of ``text``.
_COMMAND = re.compile(r"^\s*(\$ )?(edgesnn|make|pip|python3?) ", re.MULTILINE)
_OPENING = re.compile(r"^(\s*)(`{3,})(\S*)\s*$")
_COMMENT = re.compile(r"^<!--\s*(not run|exit|run with):?\s+(.*?)\s*-->$")


@dataclass(frozen=True)
class Fence:
    """One block.

    Attributes:
        page: The page, from the top of the repository.
        line: Where it begins, from 1.
        language: Its label.
        text: What it holds.
        not_run: Kind and word of why it is not run, or None.
        exit_code: What its last command ends with.
        swaps: What is written, and what CI runs in its place.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: tuple[str, str] | None = None
    exit_code: int = 0
    swaps: tuple[tuple[str, str], ...] = ()

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"

    def swapped(self) -> str:
        """The text as CI runs it."""
        text = self.text
        for old, new in self.swaps:
            text = text.replace(old, new)
        return text

    def faults(self) -> list[str]:
        """What is wrong with the block or with what stands above it."""
        found = []
        if self.language not in (*SHELL, "python", *DATA, *OTHERS):
            found.append(f"the language '{self.language}' is none that is known: label the block")
        if self.language == "text" and _COMMAND.search(self.text):
            found.append("commands stand in a block of text: label it bash or console")
        if self.not_run:
            kind, what = self.not_run
            if kind not in KINDS or not what:
                found.append(f"'not run' takes one of {', '.join(KINDS)}, then a comma and a word on it")
            if kind == "elsewhere" and not all((ROOT / one).exists() for one in what.split()):
                found.append(f"there is no {what}")
        found += [
            f"'{old}' of 'run with' does not stand in it" for old, _ in self.swaps if old not in self.text
        ]
        return found


def pages() -> list[str]:
    """README and every page below docs and examples, less decisions and what others run."""
    found = sorted(
        path.relative_to(ROOT).as_posix()
        for path in [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    )
    apart = (
        "docs/decisions/",
        "docs/api.md",
        "docs/cli.md",
        "examples/gate-in-github-actions/baselines",
    )  # tests/unit/api, tests/cli/test_help.py
    return ["README.md", *(page for page in found if not page.startswith(apart))]


def fences(page: str, text: str | None = None) -> list[Fence]:
    """The blocks of a page, in order."""
    lines = ((ROOT / page).read_text("utf-8") if text is None else text).splitlines()
    found, at = [], 0
    while at < len(lines):
        opening = _OPENING.match(lines[at])
        if opening is None:
            at += 1
            continue
        end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == opening[2])
        inside = "\n".join(line.removeprefix(opening[1]) for line in lines[at + 1 : end]) + "\n"
        found.append(Fence(page, at + 1, opening[3], inside, **_said(lines, at)))
        at = end + 1
    return found


def _said(lines: list[str], at: int) -> dict:
    """What the comments right above a block say; one empty line may stand between."""
    said: dict = {}
    at -= 1
    if at >= 0 and not lines[at].strip():
        at -= 1
    while at >= 0 and (comment := _COMMENT.match(lines[at].strip())):
        name, rest = comment.groups()
        if name == "not run":
            kind, _, what = rest.partition(",")
            said["not_run"] = (kind.strip(), what.strip())
        elif name == "exit":
            said["exit_code"] = int(rest)
        else:
            said["swaps"] = tuple(tuple(one.strip().split(" as ", 1)) for one in rest.split(";"))
        at -= 1
    return said
