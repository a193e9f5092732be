"""A run as a notebook shows it: the head of its page, in a style that leaves the notebook alone."""

from __future__ import annotations

from edgesnn.record.files import RunData
from edgesnn.reports.html.markup import element, style
from edgesnn.reports.html.page import sheet
from edgesnn.reports.html.run_page import run_head
from edgesnn.reports.html.run_parts import budget_cards
from edgesnn.reports.html.sources import Source

#: What the notebook around it must not lend: the page's own colours and letters.
_FRAME = """
background: var(--card); color: var(--ink); padding: 4px 16px 12px; border-radius: 14px; max-width: 1080px;
font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
"""


def run_summary(run: RunData) -> str:
    """Verdict, setting and budgets of a run as HTML that leaves the notebook around it alone.

    Args:
        run: The run.
    """
    # The rules of the page, nested, so that they end with this element.
    rules = f".edgesnn-run {{ {sheet().replace(':root', '&')} {_FRAME} }}"
    return element("div", style(rules), run_head(Source(run)), budget_cards(run.record), class_="edgesnn-run")
