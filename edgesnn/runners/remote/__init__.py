"""The C engine on a device at the end of a cable: adb, ssh."""
