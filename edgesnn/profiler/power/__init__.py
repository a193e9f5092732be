"""A meter beside the windows: alignment, energy, uncertainty."""
