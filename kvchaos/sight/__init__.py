"""Proof that the oracles can see: real traffic, altered on its way in one known place at a time."""
