"""Scales of a scenario: from the sizes of the tiny model to those of a card, at the same pressure."""
