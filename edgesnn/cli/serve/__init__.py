"""``edgesnn serve``: a student behind HTTP."""
