"""edgesnn: one integer program for a spiking language model, the same bits on every device."""

__version__ = "0.1.0"
