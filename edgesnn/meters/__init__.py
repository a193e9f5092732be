"""Power meters: drivers, simulated twins, recordings. This room knows nothing of models.

`base` is the contract; one file (or one small family of files) per instrument implements it. `link` is the
wire: bytes with a deadline and a clock. `twins` are simulated instruments that speak the same protocol on
the same kind of wire, so that a driver cannot tell them from the instrument; what is measured through one
says SIMULATED.
"""
