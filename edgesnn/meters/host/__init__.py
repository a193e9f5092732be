"""Meters of this machine: RAPL and the battery."""
