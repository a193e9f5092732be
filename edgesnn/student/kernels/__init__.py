"""Neurons in torch and in C, with their surrogate gradients."""
