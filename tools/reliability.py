"""Puts the figures of the long runs into ``docs/reliability.md``: one command for its three tables.

    python -m tools.reliability [--folder build]

What a parser, a command or a target is called stands in the page; its figures come from what ``tools.fuzz``,
``tools.crash`` and ``tools.soak`` wrote down below the folder. A row that no run speaks of says so.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
_PARSER = re.compile(r"^\| (?P<label>[^|]*\(`(?P<name>[a-z][\w-]*)`\)) \|.*$", re.MULTILINE)
_COMMAND = re.compile(r"^\| `(?P<name>\w+)` \|.*$", re.MULTILINE)


def read(path: Path) -> Any:
    """A JSON file, or nothing where there is none."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def section(page: str, title: str) -> tuple[int, int]:
    """Where the part of the page under a title begins and ends."""
    begin = page.index(f"### {title}\n")
    return begin, page.index("\n### ", begin)


def parsers(text: str, folder: Path) -> str:
    """The table of damaged inputs."""
    states = {path.stem: read(path) for path in folder.glob("*.json")}

    def row(found: re.Match[str]) -> str:
        one = states.get(found["name"])
        if one is None:
            return f"| {found['label']} | 0 | | | not run yet | | |"
        counts = (
            f"{one['inputs']:,} | {one['taken']:,} | {one['refused']:,} | {sum(one['findings'].values())}"
        )
        return f"| {found['label']} | {counts} | {one['seconds']:.0f} | {one['memory_mb']} |"

    total = sum(one["inputs"] for one in states.values())
    return re.sub(r"[\d,]+ inputs so far", f"{total:,} inputs so far", _PARSER.sub(row, text))


def commands(text: str, states: dict[str, Any]) -> str:
    """The table of killed commands."""

    def row(found: re.Match[str]) -> str:
        one = states.get(found["name"])
        if one is None:
            return f"| `{found['name']}` | 0 | not run yet | |"
        return f"| `{found['name']}` | {one['kills']} | {len(one['findings'])} | {one['seconds']:.0f} |"

    return _COMMAND.sub(row, text)


def targets(text: str, state: dict[str, Any]) -> str:
    """The table of the soak; it counts failures of the run as a whole, and so names no target that failed."""
    if not state:
        return text
    count = f"{state['tokens']:,} tokens and {state['frames']:,} frames in {state['rounds']:,} programs of "
    count += f"{len(state['ops'])} kinds of op, {state['mismatches']} differences"
    text = re.sub(r"[\d,]+ tokens and [\d,]+ frames in .* differences", count, text)
    rows = [f"| {name} | {compared:,} |" for name, compared in state["targets"].items()]
    begin = text.index("| target |")
    end = text.index("\n\n", begin)
    table = "\n".join(["| target | tokens and frames compared |", "|---|---|", *rows])
    return text[:begin] + table + text[end:]


def main() -> None:
    """Rewrite the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="where the runs wrote")
    folder = parser.parse_args().folder
    page = PAGE.read_text("utf-8")
    for title, change in (
        ("Damaged inputs", lambda text: parsers(text, folder / "fuzz" / "seed-1")),
        ("Killed commands", lambda text: commands(text, read(folder / "crash" / "seed-1.json"))),
        ("Parity soak", lambda text: targets(text, read(folder / "soak" / "seed-1.json"))),
    ):
        begin, end = section(page, title)
        page = page[:begin] + change(page[begin:end]) + page[end:]
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
