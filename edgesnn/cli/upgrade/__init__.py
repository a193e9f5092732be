"""`edgesnn upgrade`: a student of version 1.0 becomes one that has an integer program."""
