"""Profiles, budgets and their verdicts."""
