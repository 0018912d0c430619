"""Judges a stored run: runs every oracle, and decides its outcome and the reasons for it."""
