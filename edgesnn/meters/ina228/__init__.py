"""The INA228 bridge: its driver, its protocol, its twin."""
