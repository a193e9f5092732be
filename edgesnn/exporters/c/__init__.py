"""The C export: ``program.snn`` beside the C99 engine."""
