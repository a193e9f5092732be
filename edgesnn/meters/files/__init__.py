"""Recordings, and the CSV files of other tools, as meters."""
