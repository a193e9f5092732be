"""Random programs on every exact target, compared with golden bit for bit, for as long as one likes."""
