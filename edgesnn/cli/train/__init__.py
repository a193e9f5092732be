"""``edgesnn train``: the command, and what it shows."""
