"""The C engine, compiled for this machine."""
