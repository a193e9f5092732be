"""A phone's browser as a device: its page, its server, its protocol."""
