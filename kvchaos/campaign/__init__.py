"""A campaign: several runs in sequence by one command, and the servers that they share."""
