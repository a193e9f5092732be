"""The student artifact: its files, its metadata, its held-out slice."""
