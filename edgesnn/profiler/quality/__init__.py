"""Parity with golden, accuracy on held-out text, reference models."""
