"""Hostile inputs for every reader of edgesnn: seeded, in child processes, each finding kept as a file."""
