"""Timed windows, whole answers, and what compares them."""
