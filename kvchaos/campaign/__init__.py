"""Several runs one after the other, and the servers that they share."""
