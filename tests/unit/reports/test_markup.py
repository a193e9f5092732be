"""HTML that cannot be injected into."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn.errors import InternalError
from edgesnn.reports.html.markup import MAX_TEXT, SafeLink, clean, element, enclosed, escape, near, part
from tests.support.hostile import HOSTILE


class Reader(HTMLParser):
    """What a browser would make of a text: elements, attributes, and the text between."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.attributes, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_stays_text_in_an_element_and_in_an_attribute(text):
    found = Reader(element("p", text, class_=text))
    assert found.elements == ["p"]
    assert [name for name, _ in found.attributes] == ["class"]
    assert "".join(found.texts) == clean(text)


@given(st.text())
def test_any_text_comes_back_as_it_was_cleaned(text):
    found = Reader(element("p", text, id=text))
    assert found.elements == ["p"]
    assert "".join(found.texts) == clean(text)
    escape(text).encode("utf-8")  # no lone surrogate is left


@given(st.text())
def test_no_path_becomes_an_address_with_a_scheme_or_a_host(text):
    link = near(text)
    if link is not None:
        assert ":" not in link
        assert not link.startswith(("/", "\\"))


@pytest.mark.parametrize("path", ["//host/x", "/etc/passwd", "a\\b", "", "a\x00b", "x\u202ey"])
def test_a_path_that_is_no_neighbour_gets_no_link(path):
    assert near(path) is None


def test_marks_that_reorder_text_are_shown_not_obeyed():
    assert "\u202e" not in escape("PASS\u202eLIAF")


def test_a_long_text_is_cut_and_says_how_long_it_was():
    assert "2,000 characters" in escape("x" * 2_000)
    assert len(escape("x" * 2_000_000)) < MAX_TEXT + 100


@pytest.mark.parametrize("name", ["script", "iframe", "object", "img", "form", "base"])
def test_an_element_that_loads_or_runs_something_cannot_be_made(name):
    with pytest.raises(InternalError):
        element(name)


@pytest.mark.parametrize("name", ["onclick", "onload", "style", "src", "srcset"])
def test_an_attribute_that_loads_or_runs_something_cannot_be_made(name):
    with pytest.raises(InternalError):
        element("p", **{name: "x"})


def test_an_href_takes_only_a_checked_link():
    with pytest.raises(InternalError):
        element("a", "x", href="javascript:alert(1)")
    assert 'href="#a%20b"' in element("a", "x", href=part("a b"))
    assert 'href="javascript%3Aalert%281%29"' in element("a", "x", href=near("javascript:alert(1)"))
    assert isinstance(enclosed(b"{}", "application/json"), SafeLink)
