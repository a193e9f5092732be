"""The integer program: ops, compiler, golden interpreter and file format. Numpy only."""
