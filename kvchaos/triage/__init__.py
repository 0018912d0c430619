"""Triage of a failing run: its signature, repeats, smallest scenario, and the releases that show it."""
