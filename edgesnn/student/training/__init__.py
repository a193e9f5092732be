"""The training run: loss, steps, checkpoints, logs."""
