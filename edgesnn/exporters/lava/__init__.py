"""The Lava export: the program as processes in Loihi 2 fixed point."""
