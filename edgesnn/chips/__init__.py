"""Chips: limits, placement and energy estimates, from plain data alone; knows no program and no runner."""
