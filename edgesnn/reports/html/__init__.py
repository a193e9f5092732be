"""Offline pages of run records: one run, a run against its base, and a site over a folder of runs."""
