"""Text as training batches."""
