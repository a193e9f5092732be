"""``edgesnn init``: what a repository needs to gate its models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from edgesnn.cli.output import JsonFlag, session
from edgesnn.errors import UsageError
from edgesnn.names import unknown

SCHEMA = "edgesnn.init/1"
_CI = {
    "github": ("github.yml", ".github/workflows/edgesnn.yml"),
    "gitlab": ("gitlab.yml", ".gitlab/edgesnn.yml"),
    "none": None,
}
_PLAIN = re.compile(r"^[A-Za-z0-9_./:+-]+$")
_ATTRIBUTES = "baselines/*.jsonl merge=union\n"


def init(
    folder: Annotated[Path, typer.Argument(help="The repository.")] = Path(),
    *,
    ci: Annotated[str, typer.Option("--ci", help="Whose CI file: github, gitlab, none.")] = "github",
    bundle: Annotated[
        str, typer.Option("--bundle", help="Where the bundle will be, for the CI file.")
    ] = "bundle",
    target: Annotated[str, typer.Option("--target", help="What the CI profiles on.")] = "cpu",
    profile: Annotated[
        str, typer.Option("--profile", help="The shipped profile that becomes edgesnn.toml.")
    ] = "ci-no-meter",
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    json_mode: JsonFlag = False,
) -> None:
    """Write a profile (edgesnn.toml), a folder for baselines and a CI file into a repository.

    Nothing is replaced unless --force says so.
    """
    with session("init", json_mode) as out:
        from edgesnn.config import find_profile

        if ci not in _CI:
            raise unknown("CI", ci, _CI)
        for name, value in (("--bundle", bundle), ("--target", target)):
            if not _PLAIN.match(value):
                raise UsageError(
                    f"{name} goes into a CI file and must be plain", actual=value, limit=_PLAIN.pattern
                )
        if not folder.is_dir():
            raise UsageError(f"there is no folder '{folder}'")
        words = {"BUNDLE": bundle, "TARGET": target, "PROFILE": "edgesnn.toml", "BASELINES": "baselines"}
        text = find_profile(profile).read_text(encoding="utf-8")
        files = {
            "edgesnn.toml": text.replace(f'name = "{profile}"', f'name = "{_name_of(folder)}"', 1),
            "baselines/README.md": _template("baselines.md", {}),
            ".gitattributes": _ATTRIBUTES,
        }
        chosen = _CI[ci]
        if chosen is not None:
            files[chosen[1]] = _template(chosen[0], words)
        _write(folder, files, force)
        out.document(SCHEMA, {"files": list(files)})
        for name in files:
            out.print(f"wrote {name}")
        out.print(
            "\nnext: set the limits in edgesnn.toml, profile the bundle a few times, then\n"
            "  edgesnn baseline update RUN.json ...   (times gate from five sessions on)\n"
            "and commit the folder baselines"
        )


def _name_of(folder: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-") or "gate"


def _template(name: str, words: dict[str, str]) -> str:
    from edgesnn import resources

    text = (resources.folder("templates") / name).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text


def _write(folder: Path, files: dict[str, str], force: bool) -> None:
    """Write all files or none: what stands in the way is found first."""
    from edgesnn.cli.compare import write_text

    attributes = folder / ".gitattributes"
    if attributes.is_file():
        there = attributes.read_text(encoding="utf-8")
        files[".gitattributes"] = there if _ATTRIBUTES in there else there.rstrip("\n") + "\n" + _ATTRIBUTES
    in_the_way = [name for name in files if name != ".gitattributes" and (folder / name).exists()]
    if in_the_way and not force:
        raise UsageError(
            f"there {'are' if len(in_the_way) > 1 else 'is'} already {', '.join(in_the_way)}",
            remedy="edgesnn init --force replaces them",
        )
    for name, text in files.items():
        write_text(folder / name, text)
