"""Comparing runs: each reduced to what compares, each metric by its family's method, one verdict."""
