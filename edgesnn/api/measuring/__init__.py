"""What a profile is measured on: its subject, its quality on golden, a wake network in front."""
