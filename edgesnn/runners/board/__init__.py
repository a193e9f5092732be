"""The C engine on a microcontroller at the end of a serial line, real or in QEMU."""
