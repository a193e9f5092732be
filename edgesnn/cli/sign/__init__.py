"""`edgesnn sign`: say who made a bundle."""
