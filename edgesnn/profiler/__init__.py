"""What a profile measures: latency, memory, activity, statistics, budgets and their verdicts."""
