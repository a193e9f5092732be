"""Drawings of a page: SVG, each for a wide and a narrow screen, with the numbers behind it."""
