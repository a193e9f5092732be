"""ST LPM01A: its driver, its protocol, its twin."""
