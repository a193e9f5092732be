"""What an instrument shows against what is known to flow."""
