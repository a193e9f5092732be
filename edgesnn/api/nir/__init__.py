"""Networks of other libraries: their import, and what it cost."""
