"""What is counted, not timed: activity, energy estimates, memory, the host."""
