"""From scenario, server and seed to the resolved plan of a run: scenario files, replay, order, limits."""
