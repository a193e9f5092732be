"""``edgesnn chat``: talk with a student in the terminal."""
