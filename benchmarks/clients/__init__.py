"""Load clients side by side: ours and those of others, against the mock server, on one machine."""
