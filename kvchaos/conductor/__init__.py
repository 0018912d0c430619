"""The conductor of a run: starts the server, runs phases, arms and heals faults, drains the server."""
