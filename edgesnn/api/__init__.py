"""The few functions that join the rooms: `edgesnn` exports them, the command line is a layer over them."""
