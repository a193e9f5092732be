"""The run record (``edgesnn.run/1``): its schema, reading and writing. Knows no other room."""
