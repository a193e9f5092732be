"""The bundle: the folder that export makes and every device is given, with its manifest and hashes."""
