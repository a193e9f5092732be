"""Reports of run records: comparison, gates, pages. Knows records and plain data, no runner, no profiler."""
