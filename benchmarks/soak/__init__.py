"""The run directory of a soak that never happened, real in shape, to measure judging with."""
