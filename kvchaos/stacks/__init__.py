"""Stacks: start, end and observe the server under test, and clean up after a killed run."""
