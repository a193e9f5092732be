"""Simulated instruments: the same wire protocol, a load whose energy is known, faults on demand.

`load` says what is drawn, `device` is the contract of a simulated instrument (bytes in, bytes out, no clock
of its own), `faults` damages its stream, `pty` runs it in real time behind a pseudo-terminal with a bounded
buffer, and `virtual` runs it in simulated time behind a `Link`. One file per instrument implements
`device.TwinDevice`.
"""
