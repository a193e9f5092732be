"""A hook of mkdocs: README becomes the first page, and what a page links to outside docs/ comes along.

The pages link as a reader of the repository follows them. Here such a link leads to a copy below
``repository/`` of the site: Markdown as a page, everything else as the file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
_AWAY = re.compile(r"[a-z]+:|/|#")


def on_files(files: Files, config: Any) -> Files:
    """Add README as the index, and every file outside docs/ that a page names, pages of theirs too."""
    for page in sorted(DOCS.rglob("*.md")):
        _bring(page, files, config)
    _add(ROOT / "README.md", files, config)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead every link out of docs/ to the copy."""
    here = _source(page.file.src_uri)
    return _LINK.sub(lambda found: _led(found, here, page.file.src_uri), markdown)


def _source(uri: str) -> Path:
    """The file of the repository behind a page of the site."""
    if uri == "index.md":
        return ROOT / "README.md"
    return ROOT / uri.removeprefix("repository/") if uri.startswith("repository/") else DOCS / uri


def _uri(path: Path) -> str:
    """Where a file of the repository stands in the site."""
    if path == ROOT / "README.md":
        return "index.md"
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    within = path.relative_to(ROOT).as_posix()
    return f"repository/{within}" if path.suffix else f"repository/{within}.txt"


def _target(link: str, here: Path) -> Path | None:
    """The file that a link of a page means, or None where it leads away from the repository."""
    if _AWAY.match(link):
        return None
    path = Path(os.path.normpath(here.parent / link))
    path = path / "README.md" if path.is_dir() else path
    return path if path.is_file() and path.is_relative_to(ROOT) else None


def _led(found: re.Match[str], here: Path, uri: str) -> str:
    target = _target(found[2], here)
    if target is None:
        return found[0]  # away, or to nothing: mkdocs says so
    return f"{found[1]}{os.path.relpath(_uri(target), os.path.dirname(uri) or '.')}{found[3] or ''}{found[4]}"


def _bring(page: Path, files: Files, config: Any) -> None:
    """Add what a page links to outside docs/."""
    for link in _LINK.finditer(page.read_text("utf-8")):
        target = _target(link[2], page)
        if target is not None and not target.is_relative_to(DOCS):
            _add(target, files, config)


def _add(path: Path, files: Files, config: Any) -> None:
    """Add one file of the repository, and what it links to."""
    if files.get_file_from_path(_uri(path)) is not None:
        return
    content: str | bytes = path.read_text("utf-8") if path.suffix == ".md" else path.read_bytes()
    files.append(File.generated(config, _uri(path), content=content))
    if path.suffix == ".md":
        _bring(path, files, config)
