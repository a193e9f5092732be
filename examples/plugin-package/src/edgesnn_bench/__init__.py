"""A runner and a meter for edgesnn, in a package of their own."""
