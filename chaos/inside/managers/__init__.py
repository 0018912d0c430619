"""The wrapped manager, one module for each way of asking it. Each offers `ChaosManager(inner, engine)`.

The wrappers are no subclasses of vLLM's OffloadingManager: whatever else a release asks of a manager,
method or attribute, goes to the inner one, and no default of a base class can answer in its place.
"""
