"""Adapters to vLLM's transfer workers, one module per worker interface.

Each offers `WrappedSpec`, the host copy spec with its worker or handlers wrapped. What else a release asks
of them goes to the inner ones.
"""
