"""What is made of samples: traces, sums, envelopes, uncertainty."""
