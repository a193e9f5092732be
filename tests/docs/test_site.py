"""The site of the documentation builds without a warning, and asks nobody for anything."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from urllib.parse import unquote

import pytest

from tests.docs.fences import ROOT
from tests.support.patience import patience

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("material") is None, reason="mkdocs-material is not installed: make setup-test"
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=patience(),
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert built.stderr.strip() == "", built.stderr
    return folder


class Loaded(HTMLParser):
    """What a browser loads with a page, and what the page links to."""

    def __init__(self):
        super().__init__()
        self.loads, self.links = [], []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag in ("script", "img", "iframe", "source", "video"):
            self.loads += [given["src"]] if "src" in given else []
        elif tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(given["href"])
        elif tag == "a" and "href" in given:
            self.links.append(given["href"])


def pages_of(site):
    for path in sorted(site.rglob("*.html")):
        page = Loaded()
        page.feed(path.read_text("utf-8"))
        yield path, page


def test_a_page_loads_nothing_from_elsewhere(site):
    away = {load for _, page in pages_of(site) for load in page.loads if re.match(r"(https?:)?//", load)}
    assert away == set()
    styles = "".join(path.read_text("utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"url\([\"']?(?:https?:)?//[^)]*\)|@import[^;]*//[^;]*", styles) == []


def test_every_link_inside_leads_to_a_file(site):
    lost = set()
    for path, page in pages_of(site):
        if path.name == "404.html":  # its links begin at the top of a server
            continue
        for link in [*page.links, *page.loads]:
            if not re.match(r"[a-z]+:|#|//", link):
                target = path.parent / unquote(re.split("[?#]", link)[0])
                if not (target / "index.html" if target.is_dir() else target).exists():
                    lost.add((path.relative_to(site).as_posix(), link))
    assert lost == set()


def test_search_finds_words_of_every_page_of_the_docs(site):
    found = json.loads((site / "search/search_index.json").read_text("utf-8"))["docs"]
    there = {one["location"].partition("#")[0] for one in found}
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    assert {f"{page.with_suffix('')}.html" for page in pages if page.name != "README.md"} <= there


def test_every_page_of_the_docs_has_its_place_in_the_navigation():
    said = (ROOT / "mkdocs.yml").read_text("utf-8")
    left_out = [
        page.relative_to(ROOT / "docs").as_posix()
        for page in (ROOT / "docs").rglob("*.md")
        if f": {page.relative_to(ROOT / 'docs').as_posix()}\n" not in said
    ]
    assert left_out == []
