"""`edgesnn flash`: a bundle onto a microcontroller, with the firmware."""
