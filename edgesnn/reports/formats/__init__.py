"""Comparisons and runs for other readers than a browser: JUnit, Markdown, dashboards, pictures."""
