"""Lava in an environment of its own."""
