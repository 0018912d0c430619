"""Wrappers of vLLM's OffloadingManager, one module per interface. Each offers `ChaosManager(inner, runtime)`.

The wrappers are no subclasses of vLLM's OffloadingManager: every other method or attribute goes to
the inner manager, and no default of a base class can shadow it.
"""
