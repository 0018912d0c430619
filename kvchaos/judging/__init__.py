"""Judges a stored run: every oracle, the expectation of the plan, and whether the run was cut short."""
