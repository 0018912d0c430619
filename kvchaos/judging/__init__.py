"""Judging of a stored run: runs every oracle, and decides the outcome and its reasons."""
