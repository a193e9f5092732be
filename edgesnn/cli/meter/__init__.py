"""``edgesnn meter``: one file per command of the group."""
