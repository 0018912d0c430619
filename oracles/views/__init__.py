"""Views of the records that several oracles share."""
