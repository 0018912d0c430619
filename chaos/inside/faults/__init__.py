"""The faults inside the server, a module for each or for a few that are alike; it lists them in `FAULTS`."""
