"""``pip install`` and ``make`` of the pages: is there what they name? What they do is run by other tests.

``make -C FOLDER`` is run: it builds what a page made.

Installing the wheel and the demo: tests/cli/test_wheel.py. The targets of the Makefile are CI itself.
"""

import os
import re
import shutil
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def pip(words: list[str]) -> str | None:
    """What is wrong with what follows ``pip``, or None."""
    if words[:1] != ["install"]:
        return "a page only installs"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for word in (one for one in words[1:] if not one.startswith("-")):
        if Path(word, "pyproject.toml").is_file():
            continue
        found = re.fullmatch(r"([\w.-]+?)(?:-[\d.]+-py3-none-any\.whl)?(?:\[([\w,]+)\])?(==[\w.]+)?", word)
        if found is None:
            return f"'{word}' is no requirement"
        if found[2] and not set(found[2].split(",")) <= set(extras):
            return f"edgesnn has no extra {found[2]}"
    return None


def make(words: list[str]) -> str | None:
    """What is wrong with what follows ``make``, or None."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    named = [word for word in words if "=" not in word]
    return (
        None if named and set(named) <= set(targets) else f"the Makefile has no {' '.join(named) or 'target'}"
    )


if __name__ == "__main__":
    if sys.argv[1] == "make" and "-C" in sys.argv:  # in a folder that a page made
        path = os.pathsep.join(
            one for one in os.environ["PATH"].split(os.pathsep) if one != os.environ["EDGESNN_SHIMS"]
        )
        program = shutil.which("make", path=path)
        if program is None:
            sys.exit("there is no make")
        os.execv(program, ["make", *sys.argv[2:]])
    wrong = {"pip": pip, "make": make}[sys.argv[1]](sys.argv[2:])
    print(wrong or "checked, not run", file=sys.stderr)
    sys.exit(1 if wrong else 0)
