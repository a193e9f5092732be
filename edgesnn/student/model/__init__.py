"""The spiking transformer and its parts."""
