"""Joulescope, by its maker's driver."""
