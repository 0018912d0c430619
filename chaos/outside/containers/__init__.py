"""Faults on a server that runs in a container: through the engine that runs it, never past it."""
