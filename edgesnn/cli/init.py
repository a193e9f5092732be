"""``edgesnn init``: what a repository needs to gate its models."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgesnn import __version__
from edgesnn.cli.output import JsonFlag, session
from edgesnn.errors import UsageError
from edgesnn.names import unknown

SCHEMA = "edgesnn.init/1"
#: By CI: the template, its folder from the top of the repository, and the file that has to include it.
_CI = {
    "github": ("github.yml", ".github/workflows", None),
    "gitlab": ("gitlab.yml", ".gitlab", ".gitlab-ci.yml"),
    "none": None,
}
#: What an argument may hold: nothing that YAML, a CI's own expressions or a shell's quotes give a meaning.
_PLAIN = re.compile(r"[\w./:+@(\[][\w./:+@?=&,%~()\[\]# <>!^-]*", re.ASCII)
#: What GitLab takes as a resource group and YAML as a plain word.
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_PROFILE, _BASELINES = "edgesnn.toml", "baselines"
_ATTRIBUTES = "baselines/*.jsonl merge=union\n"


def init(
    folder: Annotated[Path, typer.Argument(help="The repository, or a folder of it.")] = Path(),
    *,
    ci: Annotated[str, typer.Option("--ci", help="Whose CI file: github, gitlab, none.")] = "github",
    bundle: Annotated[
        str, typer.Option("--bundle", help="Where the bundle will be, for the CI file.")
    ] = "bundle",
    target: Annotated[str, typer.Option("--target", help="What the CI profiles on.")] = "cpu",
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", help="The shipped profile that becomes edgesnn.toml.", show_default="ci-no-meter"
        ),
    ] = None,
    install: Annotated[
        str | None,
        typer.Option(
            "--install",
            "--source",
            metavar="SPEC",
            help="What the CI installs: a requirement, a wheel, a git URL, or the URL of an index.",
            show_default=f"edgesnn=={__version__}",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    json_mode: JsonFlag = False,
) -> None:
    """Write a profile (edgesnn.toml), a folder for baselines and a CI file into a repository.

    The CI file goes to the top of the git repository, where CI looks for it. Nothing is replaced unless
    --force says so: a profile and baselines that are there are kept.

    Examples:
        edgesnn init
        edgesnn init --ci gitlab --target native
    """
    with session("init", json_mode) as out:
        from edgesnn.targets import parse_target

        if ci not in _CI:
            raise unknown("CI", ci, _CI)
        for name, value in (
            ("--bundle", bundle),
            ("--target", target),
            ("--install", "edgesnn" if install is None else install),
        ):
            if not _PLAIN.fullmatch(value):
                raise UsageError(
                    f"{name} goes into a CI file and must be plain", actual=value, limit=_PLAIN.pattern
                )
        parse_target(target)
        if not folder.is_dir():
            raise UsageError(f"there is no folder '{folder}'")
        top, below = _repository(folder)
        files = _profile_files(folder, profile or "ci-no-meter")
        asked, to_do = {_PROFILE} if profile or ci == "none" else set(), []
        chosen = _CI[ci]
        if chosen is not None:
            template, place, including = chosen
            file = f"{place}/edgesnn{_suffix(below)}.yml"
            words = _words(below, bundle=bundle, target=target, install=install)
            files[os.path.relpath(top / file, folder)] = _template(template, words)
            asked.add(os.path.relpath(top / file, folder))
            include = f"include:\n  - local: /{file}\n"
            if including and not (top / including).exists():
                files[os.path.relpath(top / including, folder)] = include
            elif including and file not in (top / including).read_text(encoding="utf-8", errors="replace"):
                to_do.append(f"let {including} include the gate, or it never runs:\n{include.rstrip()}")
        kept = _write(folder, files, asked, force)
        written = [name for name in files if name not in kept]
        out.document(
            SCHEMA,
            {"files": written, "kept": kept, "repository": os.path.relpath(top, folder), "to_do": to_do},
        )
        for name in files:
            out.print(f"{'kept' if name in kept else 'wrote'} {name}")
        if below and chosen is not None:
            out.print(f"\nthis folder is {below} of the repository: CI looks for its file at the top only")
        for one in to_do:
            out.print(f"\n{one}")
        out.print(
            "\nnext: set the limits in edgesnn.toml, profile the bundle a few times, then\n"
            "  edgesnn baseline update RUN.json ...   (times gate from five sessions on)\n"
            "and commit the folder baselines"
        )


def _repository(folder: Path) -> tuple[Path, str]:
    """The top of the git repository that a folder lies in, and the folder's path from there, or nothing."""
    here = folder.resolve()
    top = next((parent for parent in (here, *here.parents) if (parent / ".git").exists()), here)
    below = here.relative_to(top).as_posix() if here != top else ""
    if not below.isprintable() or any(mark in below for mark in ("${", "{{")):
        raise UsageError("the folder's name goes into a CI file and must be plain", actual=below)
    return top, below


def _suffix(below: str) -> str:
    return f"-{_UNSAFE.sub('-', below).strip('-') or 'folder'}" if below else ""


def _words(below: str, *, bundle: str, target: str, install: str | None) -> dict[str, str]:
    """What stands for the placeholders of a template, each quoted for its place."""
    results = f"{below}/build/edgesnn".lstrip("/")
    return {
        "NAME": f"edgesnn{_suffix(below)}",
        "GROUP": _UNSAFE.sub("-", target).strip("-"),
        "FOLDER": json.dumps(below or "."),  # a string of JSON is one of YAML
        "CHANGE": shlex.quote(f"./{below}"),
        "RESULTS": json.dumps(results),
        "RESULTS_JUNIT": json.dumps(f"{results}/junit.xml"),
        "INSTALL": _pip_arguments(install),
        "BUNDLE": shlex.quote(bundle),
        "TARGET": shlex.quote(target),
        "PROFILE": _PROFILE,
        "BASELINES": _BASELINES,
    }


def _pip_arguments(spec: str | None) -> str:
    """What follows ``pip install``: this version, from an index where one is named, or what was named."""
    pinned = f"edgesnn=={__version__}"
    if spec is None:
        return pinned
    if re.match(r"https?://", spec) and not re.search(r"\.(whl|tar\.gz|zip)(#.*)?$", spec):
        return f"--index-url {shlex.quote(spec)} {pinned}"
    return shlex.quote(spec)


def _profile_files(folder: Path, profile: str) -> dict[str, str]:
    from edgesnn.config import find_profile

    name = _UNSAFE.sub("-", folder.resolve().name).strip("-") or "gate"
    text = find_profile(profile).read_text(encoding="utf-8")
    return {
        _PROFILE: text.replace(f'name = "{profile}"', f'name = "{name}"', 1),
        f"{_BASELINES}/README.md": _template("baselines.md", {}),
        ".gitattributes": _ATTRIBUTES,
    }


def _template(name: str, words: dict[str, str]) -> str:
    from edgesnn import resources

    text = (resources.folder("templates") / name).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z_]+)@", lambda found: words[found[1]], text)


def _write(folder: Path, files: dict[str, str], asked: set[str], force: bool) -> list[str]:
    """Write all files or none: what stands in the way is found first.

    Returns:
        Names of those that were there and are kept.
    """
    from edgesnn.cli.compare import write_text

    attributes = folder / ".gitattributes"
    if attributes.is_file():
        there = attributes.read_text(encoding="utf-8")
        files[".gitattributes"] = there if _ATTRIBUTES in there else there.rstrip("\n") + "\n" + _ATTRIBUTES
    there_already = [name for name in files if name != ".gitattributes" and (folder / name).exists()]
    in_the_way = [name for name in there_already if name in asked]
    if in_the_way and not force:
        raise UsageError(
            f"there {'are' if len(in_the_way) > 1 else 'is'} already {', '.join(in_the_way)}",
            remedy="edgesnn init --force replaces them",
        )
    kept = [] if force else there_already
    for name, text in files.items():
        if name not in kept:
            write_text(folder / name, text)
    return kept
