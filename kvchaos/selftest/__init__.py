"""Mutation testing of the oracles: real traffic is altered at one point, and an oracle must report it."""
