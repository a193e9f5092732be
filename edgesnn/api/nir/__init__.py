"""Networks of other libraries: their import, what it cost, and the way back."""
