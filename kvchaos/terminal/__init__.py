"""What the commands show on a terminal, or write to a pipe: progress of runs, and their verdicts."""
