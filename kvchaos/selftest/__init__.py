"""Mutation tests of the oracles: a mutant changes real traffic at one point, an oracle must report it."""
