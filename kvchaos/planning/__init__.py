"""Planning of a run from scenario, server and seed: scenario files, plan, replay, order, limits."""
