"""Recorded traffic: its formats, each line an entry, and synthetic traces in these formats."""
