"""``edgesnn profile``: the command, its live view, its tables."""
