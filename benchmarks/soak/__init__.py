"""A synthetic run directory of a soak test, with realistic files, to measure judging with."""
