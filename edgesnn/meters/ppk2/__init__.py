"""Nordic PPK2: its driver, its protocol, its twin."""
